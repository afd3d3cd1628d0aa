"""Tests of the pages: README, CONTRIBUTING, CHANGELOG, SECURITY and docs/. What a page says exists."""
