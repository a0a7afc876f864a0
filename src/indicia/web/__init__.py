"""The service: HTTP over the store, the token issuer and OData.

app        the application: which path goes where
serve      the process: socket, TLS, signals
api/       the TI API: the route table, and its handlers by noun
portal/    the pages for people
token      the token endpoints; grants: who is given a token; refusals: how a no is worded
discovery  what clients discover about the token endpoints
siem       detections as SIEM tools pull them
openapi    what is served beside OData, as an OpenAPI document
jwks       fetching the keys of external issuers
access     what somebody needs who sets up a client; snippets: the five steps, ready to run
gate       who is calling: the token of a request, and whether it still holds
intake     reading a request's body within its limit
problems   errors as answers; nothing leaves as a traceback
"""
