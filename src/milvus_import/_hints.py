"""The hints of errors: one template each, worded for Python and for the command line.

A hint starts with the most likely cause. The tables of ``_failures`` choose it.
"""

# ruff: noqa: S105 - some names of hints contain PASS or TOKEN

from __future__ import annotations

import re
from enum import Enum
from typing import Final

# The wordings of a placeholder: in Python, on the command line.
_WORDINGS: Final = {
    "api_key": ("the API key", "the API key in MILVUS_TOKEN or --token"),
    "ca": ("tls=TLSConfig(ca=...)", "--ca FILE"),
    "client_certificate": ("tls=TLSConfig(cert=..., key=...)", "--cert FILE --key FILE"),
    "cluster": (
        "cluster_id, or project_id and region_id",
        "--cluster-id, or --project-id and --region-id",
    ),
    "db_name": ("db_name", "--db"),
    "disable_proxy": (
        "pass channel_options=[('grpc.enable_http_proxy', 0)]",
        "add the host to no_proxy",
    ),
    "idempotency_key": ("an idempotency_key", "--idempotency-key"),
    "in_token": ("", ", in MILVUS_TOKEN or --token"),
    "job_timeout": ("options={'timeout': '3h'}", "--option timeout=3h"),
    "list_imports": ("Call list_imports", "Run milvus-import list"),
    "one_group": ("as one group, [[...]]", "with --together"),
    "partition_name": ("partition_name", "--partition"),
    "python_only": ("", ", which only the Python API has"),
    "server_name": ("tls=TLSConfig(server_name=...)", "--server-name NAME"),
    "service_auto": ("service='auto'", "--service auto"),
    "service_public": ("service='public'", "--service public"),
    "service_rest": ("service='rest'", "--service rest"),
    "switch_to_cloud": (
        "Create the client with service='cloud' and cluster_id=",
        "Pass --service cloud and --cluster-id",
    ),
    "switch_to_rest": ("Create the client with service='rest'", "Pass --service rest"),
    "timeout": ("timeout", "--timeout or --rpc-timeout"),
    "token": ("token=", "MILVUS_TOKEN or --token"),
    "token_pair": (
        "Pass token='user:password', or user= and password=",
        "Set MILVUS_TOKEN=user:password",
    ),
    "without_tls": ("Use http://, or leave out tls=", "Use http://"),
}


class Hint(Enum):
    """A hint. ``python`` names arguments, ``cli`` names options. A line break means a space."""

    # The address and the connection.
    CHECK_ADDRESS = "Check host and port: Milvus listens on 19530 (public) and 19529 (internal)."
    CHECK_HOST_NAME = "Check the host name: it cannot be resolved."
    CHECK_SOCKET_PATH = "Check the path: there is no such socket."
    CHECK_IS_MILVUS = """Check that this is Milvus: its proxy listens on 19530 (public) and 19529
        (internal, 2.4+)."""
    CHECK_REACHABLE_HTTPS = """Check that the address is reachable and speaks gRPC with TLS, or
        allow more time."""
    CHECK_REACHABLE_HTTP = """Check that the address is reachable and speaks gRPC without TLS, or
        allow more time."""
    MILVUS_LITE = """Use the address of a Milvus server: Milvus Lite, a .db file, has no import
        service."""
    RECONNECT = "Try again: the connection broke, or the server is restarting."
    RESTARTING_OR_HTTPS = """Try again if the server is restarting. Use https:// if the server uses
        TLS."""
    RESTARTING_OR_CERTIFICATE = """Try again if the server is restarting. Pass {client_certificate}
        if the server requires a client certificate. Use http:// if the server does not use TLS."""
    REFUSED_OR_HTTPS = """Check host and port: gRPC reports only one of the host's addresses. Use
        https:// if the server uses TLS."""
    REFUSED_OR_TLS = """Check host and port: gRPC reports only one of the host's addresses. Use
        http:// if the server does not use TLS. Pass {ca} if its certificate is not trusted,
        {server_name} if it names another host, {client_certificate} if it requires a client
        certificate."""
    UNSET_PROXY = """Unset the proxy variable (grpc_proxy, https_proxy, http_proxy) that sends this
        call to another address, or {disable_proxy}."""
    OPEN_FILES = """Raise the limit of open files (ulimit -n), or close files: this process has
        reached it."""
    INTERCEPTOR_SLOW = "Check the interceptors: one of them used up the timeout of the call."
    CORRUPTED_STREAM = """Check the network between client and server, which corrupts the
        connection, and try again."""
    BROKEN_OR_NOT_GRPC = """Try again if the connection broke, or check the port: perhaps no gRPC
        server listens there."""
    # TLS.
    USE_HTTP = "{without_tls}: the server does not use TLS."
    USE_HTTPS = "Use https://: the server uses TLS."
    USE_HTTPS_HTTP1 = """Check the port: an HTTP/1 server listens there. If it uses TLS, use
        https://. If it is a gateway without HTTP/2, use {service_rest}."""
    USE_HTTPS_NOT_GRPC = """Check the port: the server there does not speak gRPC. If it uses TLS,
        use https://."""
    TRUST_CA = "Pass {ca}: the server's certificate is not signed by a trusted CA."
    RENEW_CERTIFICATE = "Renew the server's certificate: it has expired."
    EXPECT_SERVER_NAME = "Use the host name of the server's certificate, or pass {server_name}."
    ENABLE_HTTP2 = """Enable HTTP/2 (ALPN h2) on the gateway or the server, or use {service_rest}:
        it uses TLS without HTTP/2. Otherwise check the port."""
    UNKNOWN_VIRTUAL_HOST = "Check the host name: the gateway does not serve it."
    PASS_CLIENT_CERTIFICATE = """Pass {client_certificate}: the server or the gateway requires a
        client certificate that it trusts."""
    # Gateways and web servers.
    GATEWAY_ROUTE = """Check host and port: a gateway or web server responded, not Milvus. If it is
        your gateway, route gRPC (HTTP/2) to Milvus."""
    GATEWAY_GRPC_PASS = """Route gRPC as gRPC in the gateway (nginx: grpc_pass, not proxy_pass): it
        called Milvus with HTTP/1."""
    GATEWAY_HTTPS = "Use https://: a gateway or web server redirects this address."
    GATEWAY_REDIRECT = "Use the address that the gateway or web server redirects to."
    GATEWAY_ACCESS = """Check which clients the gateway or web server allows (credentials,
        addresses)."""
    GATEWAY_RBAC = "Check the access rules of the gateway: the gateway denied the call, not Milvus."
    GATEWAY_REQUEST_SIZE = "Pass fewer files per call: the gateway rejects requests of this size."
    GATEWAY_METADATA_SIZE = "Send less metadata: it is larger than the gateway or server accepts."
    GATEWAY_RATE_LIMIT = "Poll less often, or try again later: the gateway limits the request rate."
    GATEWAY_UNAVAILABLE = """Try again: the gateway cannot reach Milvus, which may be restarting, or
        limits the request rate."""
    GATEWAY_BACKEND = "Try again: the gateway cannot reach Milvus, which may be restarting."
    GATEWAY_TIMEOUT = """Raise the read timeout of the gateway above the timeout of the call, or try
        again: Milvus did not respond to the gateway in time."""
    GATEWAY_CLOSED = """Try again, or send less metadata: the gateway closed the connection with an
        internal error."""
    GATEWAY_NO_TEXT = """Use https:// if the gateway redirects to it, or look at the log of the
        gateway: it returned an error without a text."""
    GATEWAY_ERROR = "Try again, or look at the log of the gateway: it failed, not Milvus."
    GATEWAY_STRIPS_AUTHORIZATION = """Configure the gateway to forward the authorization header: the
        token was sent, but Milvus did not receive it."""
    SEVERAL_SERVERS = """Check that all servers behind this address are one Milvus: the job was
        found before, so a load balancer may alternate between different ones."""
    NO_GRPC_STATUS = """Check host and port: the response has no gRPC status. Behind a gateway,
        route both gRPC services of Milvus, or pass {service_public}."""
    # Credentials.
    PASS_TOKEN = "{token_pair}."
    PASS_PLAIN_TOKEN = "Pass the plain token as {token}, without 'Bearer'; the client encodes it."
    CHECK_CREDENTIALS = "Check the user and the password, or the API key{in_token}."
    CHECK_OR_FORWARD_CREDENTIALS = """Check the user and the password, or the API key. Behind a
        gateway, check that it forwards the authorization header."""
    UNQUOTE_CREDENTIALS = """Remove the quotes around the token or the password: they are sent as
        part of it."""
    GRANT_PRIVILEGE = "Grant the user a role with that privilege, or use another user."
    # Sizes and time.
    REQUEST_TOO_LARGE = "Pass fewer files per call: the request is larger than the server accepts."
    RAISE_MAX_RECEIVE = "Raise max_receive_bytes of the client{python_only}."
    RAISE_MAX_SEND = """Raise max_send_bytes of the client{python_only}, or pass fewer files per
        call."""
    REPLY_OVER_LIMIT = "Check the server: the reply is larger than any reply of Milvus."
    ALLOW_MORE_TIME = "Allow more time: pass a larger {timeout}."
    SERVER_SLOW = "Allow more time, or try again: the server is slow or not responding."
    SERVER_DEADLINE = "Try again: a deadline inside the server expired before the call's timeout."
    CREATE_DEADLINE = """Check the collection's name and {db_name}, then whether the job exists:
        Milvus 2.3 retries the lookup of a missing collection until the deadline."""
    # The server's state.
    SERVER_STARTING = """Try again in a moment: the server, or a part of it, is starting or
        unavailable."""
    SERVER_RATE_LIMIT = "Poll less often, or try again later: the server limits the request rate."
    SERVER_RESOURCES = "Try again later: the server is short of memory or disk."
    DROP_ROUTING_METADATA = """Drop the metadata keys 'cluster' and 'serverid': they name another
        server."""
    # Which service has the method.
    USE_PUBLIC_PORT_2_3 = """Use port 19530: this is the internal port of Milvus 2.3, which does not
        have this method."""
    USE_INTERNAL_PORT = """Use port 19529 of Milvus 2.4+ for the internal service, or pass
        {service_auto}."""
    USE_PUBLIC_PORT = "Use port 19530 for the public service, or pass {service_auto}."
    REST_FOR_MANY_GROUPS = """{switch_to_rest} (port 19530) or use port 19529 for many file groups
        in one job. Pass .npy files that belong together {one_group}."""
    REST_FOR_JOB_LIST = """{switch_to_rest} or use port 19529: Milvus 2.4+ lists jobs without their
        ids on the public gRPC service."""
    REST_FOR_COMMIT = """{switch_to_rest} (Milvus 3.0, port 19530): no gRPC service that a client
        can reach has this method."""
    REST_NEEDS_2_4 = """Use {service_public}: the REST import API needs Milvus 2.4 or newer. Behind
        a gateway, route /v2/vectordb to Milvus."""
    REST_NEEDS_3_0 = "Use Milvus 3.0 or newer: older versions commit every import automatically."
    REST_NEEDS_ADMIN = """Use an administrator, or {service_public}: Milvus 2.4 to 2.5 return jobs
        over REST to administrators only."""
    # REST.
    REST_CHECK_ADDRESS = "Check host and port: the REST API of Milvus listens on 19530."
    REST_CHECK_PORT = """Check the port: the REST API of Milvus listens on 19530, not on 19529. Use
        https:// if the server uses TLS."""
    REST_CHECK_REACHABLE = """Check that the address is reachable and serves the REST API of Milvus
        (port 19530), or allow more time."""
    REST_PROXY = """Check the proxy variable (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) that sends this
        call through a proxy, or add the host to NO_PROXY."""
    REST_ROUTE = """Check host and port: a gateway or web server responded, not Milvus. If it is
        your gateway, route /v2/vectordb to Milvus."""
    REST_COMPRESSED = """Turn off compression for /v2/vectordb in the gateway: the client did not
        request it."""
    REST_REPEAT = "Resend the request: commit and abort are idempotent on the server."
    # Zilliz Cloud.
    SWITCH_TO_CLOUD = "{switch_to_cloud}: this is the address of Zilliz Cloud."
    CLOUD_ADDRESS = """Check the address and the network: Zilliz Cloud is at
        https://api.cloud.zilliz.com, in China at https://api.cloud.zilliz.com.cn."""
    CLOUD_API_KEY = "Check {api_key}: Zilliz Cloud does not accept it."
    CLOUD_CLUSTER = "Check {cluster}, and what the API key may access."
    CLOUD_FILES = """Check the object URLs and the keys of the bucket, or the volume and the paths
        in it."""
    CLOUD_REPEAT = "{list_imports} before you create the job again: it may exist."
    # The arguments of a request.
    CHECK_COLLECTION = "Check the collection's name and {db_name}."
    CHECK_DATABASE = """Check {db_name}, or the path of the address, which names the database and
        not a path of a gateway."""
    CHECK_PARTITION = "Check {partition_name}."
    LEAVE_OUT_PARTITION = "Leave out {partition_name}: the collection has a partition key."
    CHECK_JOB_ID = """Check the job id, {db_name} and the server: a server removes ended jobs after
        some hours."""
    JOB_LIMIT = "Try again when some of the server's import jobs have ended."
    ONE_FILE_PER_GROUP = "Start one job per .json or .parquet file: only .npy files form a group."
    TOO_MANY_FILES = "Pass fewer files per job: the server limits the number of files."
    DISK_QUOTA = "Free disk space or raise the disk quota of the server, then import again."
    REPEAT_WITH_KEY = """{list_imports} before you create the job again: it may exist. If you passed
        {idempotency_key}, resend the request with the same key."""
    INVALID_UTF8 = "Check the job's files: a text of this reply is not valid UTF-8."
    # Why a job failed.
    JOB_FILE_PATH = """Pass a path on the server's disk, or a key of Milvus' bucket without the
        bucket's name: Milvus reads the files, not the client."""
    JOB_BUCKET_KEYS = """Grant Milvus' own bucket keys access to the files: Milvus reads them, not
        the client."""
    FILE_TYPE = "Use .json, .parquet, .npy or .csv files with lower-case suffixes."
    JOB_JSON_LAYOUT = 'Write the JSON file as {"rows": [...]} or as a list of rows.'
    JOB_NPY_NAMES = "Name each .npy file after its field and pass all of them {one_group}."
    JOB_META_FIELD = """Pass a file $meta.npy too, or create the collection without its dynamic
        field."""
    JOB_MISSING_COLUMN = """Write a value for each field of the collection: the file lacks one, or
        its name differs."""
    JOB_LARGE_STRINGS = """Write the Parquet file with utf8 columns instead of large_utf8 (in
        pyarrow: pa.string())."""
    JOB_RESTARTED = "Create the job again: the server restarted while the job was running."
    JOB_EMPTY_FILE = "Check the file: it is empty or incomplete."
    JOB_FILE_SIZE = "Split the file: it is larger than the server imports."
    JOB_TIMEOUT = """Pass a larger timeout of the job, as in {job_timeout}, or fewer files: the job
        was not finished in time."""
    JOB_COLLECTION_DROPPED = """Create the collection and the job again: the collection was dropped
        during the import."""
    JOB_RELEASE_COLLECTION = "Release the collection before an L0 import."

    @property
    def python(self) -> str:
        """The wording for programs."""
        return self._worded(0)

    @property
    def cli(self) -> str:
        """The wording for the command line."""
        return self._worded(1)

    def _worded(self, index: int) -> str:
        text = " ".join(self.value.split())
        return re.sub(r"\{(\w+)\}", lambda name: _WORDINGS[name[1]][index], text)
