"""The hints of errors, worded for Python and for the command line.

A hint starts with the most likely cause. It is chosen where the error is classified:
``_failures/_call_hints.py`` for gRPC, ``_failures/_http_status.py`` for gateways,
``_failures/_milvus.py`` for Milvus, and in the modules of REST.
"""

from __future__ import annotations

from enum import Enum


class Hint(Enum):
    """One hint in two wordings: ``python`` names arguments, ``cli`` names options."""

    # The address and the connection.
    CHECK_ADDRESS = "Check host and port: Milvus listens on 19530 (public) and 19529 (internal)."
    CHECK_HOST_NAME = "Check the host name: it cannot be resolved."
    CHECK_SOCKET_PATH = "Check the path: there is no such socket."
    CHECK_IS_MILVUS = (
        "Check that this is Milvus: its proxy listens on 19530 (public) and 19529 (internal, 2.4+)."
    )
    CHECK_REACHABLE_HTTPS = (
        "Check that the address is reachable and speaks gRPC with TLS, or allow more time."
    )
    CHECK_REACHABLE_HTTP = (
        "Check that the address is reachable and speaks gRPC without TLS, or allow more time."
    )
    RECONNECT = "Try again: the connection broke, or the server is restarting."
    RESTARTING_OR_HTTPS = (
        "Try again if the server is restarting. Use https:// if the server uses TLS."
    )
    RESTARTING_OR_CERTIFICATE = (
        (
            "Try again if the server is restarting. Pass tls=TLSConfig(cert=..., key=...) if the "
            "server requires a client certificate. Use http:// if the server does not use TLS."
        ),
        (
            "Try again if the server is restarting. Pass --cert FILE --key FILE if the server "
            "requires a client certificate. Use http:// if the server does not use TLS."
        ),
    )
    REFUSED_OR_HTTPS = (
        "Check host and port: gRPC reports only one of the host's addresses. Use https:// if the "
        "server uses TLS."
    )
    REFUSED_OR_TLS = (
        (
            "Check host and port: gRPC reports only one of the host's addresses. Use http:// if "
            "the server does not use TLS. Pass tls=TLSConfig(ca=...) if its certificate is not "
            "trusted, server_name=... if it names another host, cert=... and key=... if it "
            "requires a client certificate."
        ),
        (
            "Check host and port: gRPC reports only one of the host's addresses. Use http:// if "
            "the server does not use TLS. Pass --ca FILE if its certificate is not trusted, "
            "--server-name NAME if it names another host, --cert FILE and --key FILE if it "
            "requires a client certificate."
        ),
    )
    UNSET_PROXY = (
        (
            "Unset the proxy variable (grpc_proxy, https_proxy, http_proxy) that sends this call "
            "to another address, or pass channel_options=[('grpc.enable_http_proxy', 0)]."
        ),
        (
            "Unset the proxy variable (grpc_proxy, https_proxy, http_proxy) that sends this call "
            "to another address, or add the host to no_proxy."
        ),
    )
    CORRUPTED_STREAM = (
        "Check the network between client and server, which corrupts the connection, and try again."
    )
    BROKEN_OR_NOT_GRPC = (
        "Try again if the connection broke, or check the port: perhaps no gRPC server listens "
        "there."
    )
    # TLS.
    USE_HTTP = (
        "Use http://, or leave out tls=: the server does not use TLS.",
        "Use http://: the server does not use TLS.",
    )
    USE_HTTPS_HTTP1 = (
        "Check the port: an HTTP/1 server listens there. If it uses TLS, use https://."
    )
    USE_HTTPS_NOT_GRPC = (
        "Check the port: the server there does not speak gRPC. If it uses TLS, use https://."
    )
    TRUST_CA = (
        "Pass tls=TLSConfig(ca=...): the server's certificate is not signed by a trusted CA.",
        "Pass --ca FILE: the server's certificate is not signed by a trusted CA.",
    )
    RENEW_CERTIFICATE = "Renew the server's certificate: it has expired."
    EXPECT_SERVER_NAME = (
        "Use the host name of the server's certificate, or pass tls=TLSConfig(server_name=...).",
        "Use the host name of the server's certificate, or pass --server-name NAME.",
    )
    ENABLE_HTTP2 = (
        "Enable HTTP/2 (ALPN h2) on the gateway or the server: it uses TLS without HTTP/2. "
        "Otherwise check the port."
    )
    UNKNOWN_VIRTUAL_HOST = "Check the host name: the gateway does not serve it."
    PASS_CLIENT_CERTIFICATE = (
        "Pass tls=TLSConfig(cert=..., key=...): the gateway requires a client certificate.",
        "Pass --cert FILE --key FILE: the gateway requires a client certificate.",
    )
    # Gateways and web servers.
    GATEWAY_ROUTE = (
        "Check host and port: a gateway or web server responded, not Milvus. If it is your "
        "gateway, route gRPC (HTTP/2) to Milvus."
    )
    GATEWAY_HTTPS = "Use https://: a gateway or web server redirects this address."
    GATEWAY_REDIRECT = "Use the address that the gateway or web server redirects to."
    GATEWAY_ACCESS = (
        "Check which clients the gateway or web server allows (credentials, addresses)."
    )
    GATEWAY_RBAC = "Check the access rules of the gateway: the gateway denied the call, not Milvus."
    GATEWAY_REQUEST_SIZE = "Pass fewer files per call: the gateway rejects requests of this size."
    GATEWAY_METADATA_SIZE = "Send less metadata: it is larger than the gateway or server accepts."
    GATEWAY_RATE_LIMIT = "Poll less often, or try again later: the gateway limits the request rate."
    GATEWAY_UNAVAILABLE = (
        "Try again: the gateway cannot reach Milvus, which may be restarting, or limits the "
        "request rate."
    )
    GATEWAY_BACKEND = "Try again: the gateway cannot reach Milvus, which may be restarting."
    GATEWAY_TIMEOUT = (
        "Raise the read timeout of the gateway above the timeout of the call, or try again: Milvus "
        "did not respond to the gateway in time."
    )
    GATEWAY_CLOSED = (
        "Try again, or send less metadata: the gateway closed the connection with an internal "
        "error."
    )
    GATEWAY_NO_TEXT = (
        "Use https:// if the gateway redirects to it, or look at the log of the gateway: it "
        "returned an error without a text."
    )
    GATEWAY_ERROR = "Try again, or look at the log of the gateway: it failed, not Milvus."
    GATEWAY_STRIPS_AUTHORIZATION = (
        "Configure the gateway to forward the authorization header: the token was sent, but Milvus "
        "did not receive it."
    )
    NO_GRPC_STATUS = (
        (
            "Check host and port: the response has no gRPC status. Behind a gateway, route both "
            "gRPC services of Milvus, or pass service='public'."
        ),
        (
            "Check host and port: the response has no gRPC status. Behind a gateway, route both "
            "gRPC services of Milvus, or pass --service public."
        ),
    )
    # Credentials.
    PASS_TOKEN = (
        "Pass token='user:password', or user= and password=.",
        "Set MILVUS_TOKEN=user:password.",
    )
    PASS_PLAIN_TOKEN = (
        "Pass the plain token as token=, without 'Bearer'; the client encodes it.",
        "Pass the plain token in MILVUS_TOKEN or --token, without 'Bearer'; the client encodes it.",
    )
    CHECK_CREDENTIALS = (
        "Check the user and the password, or the API key.",
        "Check the user and the password, or the API key, in MILVUS_TOKEN or --token.",
    )
    GRANT_PRIVILEGE = "Grant the user a role with that privilege, or use another user."
    # Sizes and time.
    REQUEST_TOO_LARGE = "Pass fewer files per call: the request is larger than the server accepts."
    RAISE_MAX_RECEIVE = (
        "Raise max_receive_bytes of the client.",
        "Use the Python API with a larger max_receive_bytes.",
    )
    RAISE_MAX_SEND = (
        "Raise max_send_bytes of the client, or pass fewer files per call.",
        "Pass fewer files per call.",
    )
    REPLY_OVER_LIMIT = "Check the server: the reply is larger than any reply of Milvus."
    ALLOW_MORE_TIME = (
        "Allow more time: pass a larger timeout.",
        "Allow more time: pass a larger --timeout or --rpc-timeout.",
    )
    SERVER_SLOW = "Allow more time, or try again: the server is slow or not responding."
    SERVER_DEADLINE = "Try again: a deadline inside the server expired before the call's timeout."
    CREATE_DEADLINE = (
        (
            "Check the collection's name and db_name, then whether the job exists: Milvus 2.3 "
            "retries the lookup of a missing collection until the deadline."
        ),
        (
            "Check the collection's name and --db, then whether the job exists: Milvus 2.3 "
            "retries the lookup of a missing collection until the deadline."
        ),
    )
    # The server's state.
    SERVER_STARTING = (
        "Try again in a moment: the server, or a part of it, is starting or unavailable."
    )
    SERVER_RATE_LIMIT = "Poll less often, or try again later: the server limits the request rate."
    SERVER_RESOURCES = "Try again later: the server is short of memory or disk."
    DROP_ROUTING_METADATA = (
        "Drop the metadata keys 'cluster' and 'serverid': they name another server."
    )
    # Which service has the method.
    USE_PUBLIC_PORT_2_3 = (
        "Use port 19530: this is the internal port of Milvus 2.3, which does not have this method."
    )
    USE_INTERNAL_PORT = (
        "Use port 19529 of Milvus 2.4+ for the internal service, or pass service='auto'.",
        "Use port 19529 of Milvus 2.4+ for the internal service, or pass --service auto.",
    )
    USE_PUBLIC_PORT = (
        "Use port 19530 for the public service, or pass service='auto'.",
        "Use port 19530 for the public service, or pass --service auto.",
    )
    REST_FOR_MANY_GROUPS = (
        (
            "Create the client with service='rest' (port 19530) or use port 19529 for many file "
            "groups in one job. Pass .npy files of one group as a nested list, [[...]]."
        ),
        (
            "Pass --service rest (port 19530) or use port 19529 for many file groups in one job. "
            "Pass --together if the .npy files are one group."
        ),
    )
    REST_FOR_JOB_LIST = (
        (
            "Create the client with service='rest' or use port 19529: Milvus 2.4+ lists jobs "
            "without their ids on the public gRPC service."
        ),
        (
            "Pass --service rest or use port 19529: Milvus 2.4+ lists jobs without their ids on "
            "the public gRPC service."
        ),
    )
    REST_FOR_COMMIT = (
        (
            "Create the client with service='rest' (Milvus 3.0, port 19530): no gRPC service that "
            "a client can reach has this method."
        ),
        (
            "Pass --service rest (Milvus 3.0, port 19530): no gRPC service that a client can reach "
            "has this method."
        ),
    )
    REST_NEEDS_2_4 = (
        (
            "Use service='public': the REST import API needs Milvus 2.4 or newer. Behind a "
            "gateway, route /v2/vectordb to Milvus."
        ),
        (
            "Use --service public: the REST import API needs Milvus 2.4 or newer. Behind a "
            "gateway, route /v2/vectordb to Milvus."
        ),
    )
    REST_NEEDS_3_0 = "Use Milvus 3.0 or newer: older versions commit every import automatically."
    REST_NEEDS_ADMIN = (
        (
            "Use an administrator, or service='public': Milvus 2.4 to 2.6 return the progress over "
            "REST to administrators only."
        ),
        (
            "Use an administrator, or --service public: Milvus 2.4 to 2.6 return the progress over "
            "REST to administrators only."
        ),
    )
    # REST.
    REST_CHECK_ADDRESS = "Check host and port: the REST API of Milvus listens on 19530."
    REST_CHECK_PORT = (
        "Check the port: the REST API of Milvus listens on 19530, not on 19529. Use https:// if "
        "the server uses TLS."
    )
    REST_CHECK_REACHABLE = (
        "Check that the address is reachable and serves the REST API of Milvus (port 19530), or "
        "allow more time."
    )
    REST_PROXY = (
        "Check the proxy variable (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) that sends this call "
        "through a proxy, or add the host to NO_PROXY."
    )
    REST_ROUTE = (
        "Check host and port: a gateway or web server responded, not Milvus. If it is your "
        "gateway, route /v2/vectordb to Milvus."
    )
    REST_COMPRESSED = (
        "Turn off compression for /v2/vectordb in the gateway: the client did not request it."
    )
    REST_REPEAT = "Resend the request: commit and abort are idempotent on the server."
    USE_HTTPS = "Use https://: the server uses TLS."
    # The arguments of a request.
    CHECK_COLLECTION = (
        "Check the collection's name and db_name.",
        "Check the collection's name and --db.",
    )
    CHECK_DATABASE = ("Check db_name.", "Check --db.")
    CHECK_PARTITION = ("Check partition_name.", "Check --partition.")
    CHECK_JOB_ID = (
        "Check the job id, db_name and the server: a server removes ended jobs after some hours.",
        "Check the job id, --db and the server: a server removes ended jobs after some hours.",
    )
    JOB_LIMIT = "Try again when some of the server's import jobs have ended."
    ONE_FILE_PER_GROUP = "Start one job per .json or .parquet file: only .npy files form a group."
    TOO_MANY_FILES = "Pass fewer files per job: the server limits the number of files."
    DISK_QUOTA = "Free disk space or raise the disk quota of the server, then import again."
    REPEAT_WITH_KEY = (
        (
            "Call list_imports before you create the job again: it may exist. If you passed an "
            "idempotency_key, resend the request with the same key."
        ),
        (
            "Run milvus-import list before you create the job again: it may exist. If you passed "
            "--idempotency-key, resend the request with the same key."
        ),
    )
    INVALID_UTF8 = "Check the job's files: a text of this reply is not valid UTF-8."
    # Why a job failed.
    JOB_FILE_PATH = (
        "Pass a path on the server's disk, or a key of Milvus' bucket without the bucket's name: "
        "Milvus reads the files, not the client."
    )
    FILE_TYPE = "Use .json, .parquet, .npy or .csv files with lower-case suffixes."
    JOB_JSON_LAYOUT = 'Write the JSON file as {"rows": [...]} or as a list of rows.'
    JOB_NPY_NAMES = (
        "Name each .npy file after its field and pass all of them as one group, [[...]].",
        "Name each .npy file after its field and pass all of them with --together.",
    )
    JOB_LARGE_STRINGS = (
        "Write the Parquet file with utf8 columns instead of large_utf8 (in pyarrow: pa.string())."
    )
    JOB_RESTARTED = "Create the job again: the server restarted while the job was running."
    JOB_EMPTY_FILE = "Check the file: it is empty or incomplete."

    python: str
    """The wording for programs."""
    cli: str
    """The wording for the command line."""

    def __init__(self, python: str, cli: str = "") -> None:
        self.python = python
        self.cli = cli or python
