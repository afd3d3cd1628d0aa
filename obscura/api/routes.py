"""The route tables of both ports, put together from those of the handler modules."""

from obscura.api import accounts, attachments, docs_page, gateway, keys, management, messages, openapi
from obscura.http.route import Route

API_ROUTES: tuple[Route, ...] = (
    *accounts.ROUTES,
    *keys.ROUTES,
    *messages.ROUTES,
    *attachments.ROUTES,
    *gateway.ROUTES,
    *openapi.ROUTES,
    *docs_page.ROUTES,
)

MANAGEMENT_ROUTES: tuple[Route, ...] = management.ROUTES
