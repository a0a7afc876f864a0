"""The service document and the metadata document: the same for everyone."""

from __future__ import annotations

from indicia.odata import metadata as documents
from indicia.odata import options
from indicia.web.api.call import Answer, Call, answer


def document(call: Call) -> Answer:
    """GET /v1.0/"""
    options.parse(call.query, options.FORMAT_OPTIONS)
    return answer(call, documents.service_document(call.form))


def metadata(call: Call) -> Answer:
    """GET /v1.0/$metadata"""
    options.of_metadata(call.query)
    return Answer(200, documents.csdl(), "application/xml; charset=utf-8")
