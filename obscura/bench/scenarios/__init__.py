"""The kinds of load, one module each; `registry` has a row for each. They may import `bench` and `client`."""
