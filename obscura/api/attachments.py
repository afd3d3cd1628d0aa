"""/v1/attachments: streams in, streams out."""

import orjson
from aiohttp import web

from obscura.api.requests import require_user, uuid_in_path
from obscura.http.bodies import body_chunks, refuse_compressed_body
from obscura.http.ranges import parse_range
from obscura.http.route import Route
from obscura.http.streaming import is_not_modified, stream_response
from obscura.services.attachments import Attachments

ATTACHMENTS = web.AppKey("attachments", Attachments)


async def upload(request: web.Request) -> web.Response:
    """POST /v1/attachments: store the body, of any content type, as it arrives."""
    user_id = require_user(request).user_id
    refuse_compressed_body(request)
    stored = await request.app[ATTACHMENTS].upload(user_id, request.content_length, body_chunks(request))
    body = orjson.dumps({"id": str(stored.id), "expiresAt": stored.expires_at})
    return web.Response(status=201, body=body, content_type="application/json")


async def download(request: web.Request) -> web.StreamResponse:
    """GET and HEAD /v1/attachments/{id}: the bytes, or the part that Range asks for."""
    require_user(request)
    attachments = request.app[ATTACHMENTS]
    attachment_id = uuid_in_path(request, "id")
    attachment = await attachments.find(attachment_id)
    etag = f'"{attachment_id}"'  # the bytes of an id never change
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Disposition": "attachment"}
    if is_not_modified(request, etag):
        return web.Response(status=304, headers=headers)
    is_in_parts = request.method == "GET" and request.headers.get("If-Range", etag) == etag
    part = parse_range(request.headers.get("Range"), attachment.size_bytes) if is_in_parts else None
    if part:
        headers["Content-Range"] = part.content_range
    first, count = (part.first, part.count) if part else (0, attachment.size_bytes)
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    response.content_type = "application/octet-stream"
    response.content_length = count
    if request.method == "GET":
        async with attachments.read(attachment_id, first, count) as chunks:
            await stream_response(request, response, chunks)
    return response


_CONDITIONAL_HEADERS = ("If-None-Match", "If-Range", "Range")
_PART_HEADERS = ("Accept-Ranges", "Content-Range", "ETag")

ROUTES = (
    Route("POST", "/v1/attachments", upload),
    Route(
        "GET",
        "/v1/attachments/{id}",
        download,
        request_headers=_CONDITIONAL_HEADERS,
        response_headers=_PART_HEADERS,
    ),
    Route(
        "HEAD",
        "/v1/attachments/{id}",
        download,
        request_headers=("If-None-Match",),
        response_headers=("Accept-Ranges", "ETag"),
    ),
)
