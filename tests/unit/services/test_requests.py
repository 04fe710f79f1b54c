from __future__ import annotations

import math
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from replay import PROXY, PUBLIC, Replay, listening, ok

from milvus_import import GetImportProgressOption, ImportClient, get_import_progress
from milvus_import_pb import internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

JOB = "449839014328146739"
SECRET = "s3cr3t-Milvus"


def refused(error: type[Exception], words: str) -> Any:
    return pytest.raises(error, match=re.escape(words))


BAD_JOB_IDS: list[tuple[Any, type[Exception], str]] = [
    ("", ValueError, "job_id '' is no job id: Milvus' are decimal digits, at most 2**63-1"),
    ("abc", ValueError, "job_id 'abc' is no job id"),
    ("1.5", ValueError, "job_id '1.5'"),
    (" 7", ValueError, "job_id ' 7'"),
    ("7\n", ValueError, r"job_id '7\n'"),
    ("-1", ValueError, "job_id '-1'"),
    ("+1", ValueError, "job_id '+1'"),
    ("1_000", ValueError, "job_id '1_000'"),
    ("0x10", ValueError, "job_id '0x10'"),
    ("1e3", ValueError, "job_id '1e3'"),
    ("\u0663", ValueError, "job_id '\u0663'"),
    ("\uff11", ValueError, "job_id '\uff11'"),
    ("\u00b2", ValueError, "job_id '\u00b2'"),
    ("9223372036854775808", ValueError, "job_id '9223372036854775808'"),
    ("9" * 10_000, ValueError, "9...' is no job id"),
    (7, TypeError, "job_id is a str of digits such as '449839014328146739', not 7"),
    (None, TypeError, "job_id is a str of digits such as '449839014328146739', not None"),
    (b"7", TypeError, "job_id is a str of digits such as '449839014328146739', not b'7'"),
]


@pytest.mark.parametrize(
    ("job_id", "error", "words"), BAD_JOB_IDS, ids=[repr(row[0])[:20] for row in BAD_JOB_IDS]
)
async def test_a_bad_job_id_is_refused_and_nothing_is_sent(
    job_id: Any, error: type[Exception], words: str
) -> None:
    async with listening() as listener, ImportClient(listener.uri) as client:
        for call in (
            client.get_import_progress(job_id),
            client.wait(job_id),
            client.wait_all([JOB, job_id]),
            get_import_progress(GetImportProgressOption(listener.uri, job_id)),
        ):
            with refused(error, words) as caught:
                await call
            assert len(str(caught.value)) < 200
        for watch in (lambda: client.watch(job_id), lambda: client.watch_all([JOB, job_id])):
            with refused(error, words):
                watch()
        assert listener.connections == 0


@pytest.mark.parametrize("job_id", ["0", "7", "007", JOB, "9223372036854775807"])
async def test_a_good_job_id_arrives_as_it_is(job_id: str) -> None:
    replies = {
        PROXY + "GetImportProgress": ok(internal_pb2.GetImportProgressResponse(progress=5)),
        PUBLIC + "GetImportState": ok(milvus_pb2.GetImportStateResponse(row_count=5)),
    }
    for path, answer in replies.items():
        async with Replay({path: answer}) as server, ImportClient(server.uri) as client:
            response = await client.get_import_progress(job_id)
        asked = server.received[-1].message()
        assert response.data.job_id == job_id
        assert asked.jobID == job_id if "Progress" in path else asked.task == int(job_id)


async def test_the_jobs_of_a_watch_are_a_list_or_a_collection() -> None:
    async with listening() as listener, ImportClient(listener.uri) as client:
        with refused(TypeError, f"job_ids is a list of job ids; write ['{JOB}']"):
            client.watch_all(JOB)
        with refused(TypeError, f"job_ids is a list of job ids; write ['{JOB}']"):
            await client.wait_all(JOB)
        with refused(TypeError, "write ['books'], or collection_name='books'"):
            client.watch_all("books")
        with refused(TypeError, "job_ids is a list of job ids, not 5"):
            client.watch_all(cast("Any", 5))
        with refused(TypeError, "job_ids is a list of job ids, not 5"):
            await client.wait_all(cast("Any", 5))
        with refused(ValueError, "collection_name is empty; leave it out for all collections"):
            client.watch_all(collection_name="")
        with refused(ValueError, "job_ids and collection_name: pass one of them"):
            client.watch_all([JOB], "books")
        assert listener.connections == 0


BAD_LISTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"collection_name": ""}, ValueError, "collection_name is empty; leave it out for all"),
    ({"collection_name": 5}, TypeError, "collection_name is a str, not 5"),
    ({"collection_name": "\udc80"}, ValueError, "collection_name holds a lone surrogate"),
    ({"db_name": 5}, TypeError, "db_name is a str, not 5"),
    ({"db_name": "\udc80"}, ValueError, "db_name holds a lone surrogate"),
    ({"db_name": "d\u00e4"}, ValueError, "db_name 'd\u00e4' is no database name"),
]


@pytest.mark.parametrize(
    ("arguments", "error", "words"), BAD_LISTS, ids=[row[2][:30] for row in BAD_LISTS]
)
async def test_a_bad_name_of_a_list_is_refused_and_nothing_is_sent(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    async with listening() as listener, ImportClient(listener.uri) as client:
        with refused(error, words):
            await client.list_imports(**arguments)
        assert listener.connections == 0


ONE_FILE: dict[str, Any] = {"collection_name": "books", "files": ["a.parquet"]}
BAD_ORDERS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"collection_name": ""}, ValueError, "collection_name is empty"),
    ({"collection_name": None}, TypeError, "collection_name is a str, not None"),
    ({"collection_name": "\udc80"}, ValueError, "collection_name holds a lone surrogate"),
    ({"partition_name": 5}, TypeError, "partition_name is a str, not 5"),
    ({"db_name": 5}, TypeError, "db_name is a str, not 5"),
    ({"db_name": "d\u00e4"}, ValueError, "db_name 'd\u00e4' is no database name"),
    ({"files": []}, ValueError, "files is empty; name at least one file"),
    ({"files": "a.parquet"}, TypeError, "files is a list of paths; write files=['a.parquet']"),
    ({"files": Path("a")}, TypeError, "files is a list of paths; write files=['a']"),
    ({"files": b"a.parquet"}, TypeError, "files is a list of paths, not bytes"),
    ({"files": {"a.parquet"}}, TypeError, "files is a list of paths, not set; write files=list("),
    (
        {"files": (file for file in "a")},
        TypeError,
        "files is a list of paths, not generator; write",
    ),
    ({"files": None}, TypeError, "files is a list of paths, not NoneType"),
    ({"files": [""]}, ValueError, "files[0] holds an empty path"),
    ({"files": ["a", []]}, ValueError, "files[1] is an empty group"),
    ({"files": ["a", ["b", ""]]}, ValueError, "files[1] holds an empty path"),
    ({"files": [Path("a")]}, TypeError, "; write 'a'"),
    ({"files": [b"a"]}, TypeError, "files[0] is b'a', not a str or a sequence of str"),
    ({"files": [["a", Path("b")]]}, TypeError, "write str(path)"),
    ({"files": [["a", ["b"]]]}, TypeError, "files[0] holds ['b']; write str(path)"),
    ({"files": ["a\udc80"]}, ValueError, "files[0] holds a lone surrogate"),
    ({"options": "timeout=5"}, TypeError, "options is a mapping such as {'timeout': 300}"),
    ({"options": 5}, TypeError, "options is a mapping such as {'timeout': 300}, not int"),
    ({"options": ["timeout"]}, TypeError, "options holds an entry that is no pair"),
    ({"options": [("a", "b", "c")]}, TypeError, "options holds an entry that is no pair"),
    ({"options": {5: "a"}}, TypeError, "an option's name is a str, not 5"),
    ({"options": {"": "a"}}, TypeError, "an option's name is a str, not ''"),
    ({"options": [("sep", ","), ("sep", ";")]}, ValueError, "option 'sep' is given twice"),
    ({"options": {"timeout": 1, "Timeout": 2}}, ValueError, "option 'Timeout' is given twice"),
    ({"options": {"timeout": 0}}, ValueError, "option 'timeout' is 0; it must be"),
    ({"options": {"timeout": -1.5}}, ValueError, "option 'timeout' is -1.5"),
    ({"options": {"timeout": 1e-7}}, ValueError, "option 'timeout' is 1e-07"),
    ({"options": {"timeout": math.nan}}, ValueError, "option 'timeout' is nan"),
    ({"options": {"timeout": math.inf}}, ValueError, "option 'timeout' is inf"),
    ({"options": {"timeout": 2e9}}, ValueError, "option 'timeout' is 2000000000.0"),
    (
        {"options": {"timeout": timedelta(0)}},
        ValueError,
        "option 'timeout' is datetime.timedelta(0)",
    ),
    ({"options": {"timeout": timedelta.max}}, ValueError, "option 'timeout' is datetime.timedelta"),
    (
        {"options": {"timeout": True}},
        TypeError,
        "'timeout' is seconds, a timedelta or text such as",
    ),
    ({"options": {"timeout": ""}}, TypeError, "option 'timeout' is seconds, a timedelta or text"),
    ({"options": {"timeout": None}}, TypeError, "text such as '300s': None"),
    (
        {"options": {"auto_commit": "false"}},
        TypeError,
        "option 'auto_commit' is True or False, not a",
    ),
    (
        {"options": {"AUTO_COMMIT": 0}},
        TypeError,
        "option 'auto_commit' is True or False, not a int",
    ),
    ({"options": {"ezk": SECRET.encode()}}, TypeError, "option 'ezk' is a str, a bool or an int"),
    (
        {"options": {"ezk": [SECRET]}},
        TypeError,
        "option 'ezk' is a str, a bool or an int, not a list",
    ),
    ({"options": {"ezk": f"{SECRET}\udc80"}}, ValueError, "option 'ezk' holds a lone surrogate"),
    ({"options": {"start_ts": 1.5}}, TypeError, "option 'start_ts' is a str, a bool or an int"),
    ({"options": {"start_ts": None}}, TypeError, "option 'start_ts' is a str, a bool or an int"),
    ({"options": {"sep\udc80": ","}}, ValueError, "an option's name holds a lone surrogate"),
    ({"idempotency_key": ""}, ValueError, "idempotency_key '' is not 1 to 256 characters of"),
    ({"idempotency_key": "k" * 257}, ValueError, "is not 1 to 256 characters of printable ASCII"),
    ({"idempotency_key": "a\nb"}, ValueError, r"idempotency_key 'a\nb' is not"),
    ({"idempotency_key": "schl\u00fcssel"}, ValueError, "idempotency_key 'schl\u00fcssel' is not"),
    ({"idempotency_key": 5}, TypeError, "idempotency_key is a str, not 5"),
]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    BAD_ORDERS,
    ids=[f"{index}-{next(iter(row[0]))}" for index, row in enumerate(BAD_ORDERS)],
)
async def test_a_bad_order_is_refused_and_nothing_is_sent(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    async with listening() as listener, ImportClient(listener.uri) as client:
        with refused(error, words) as caught:
            await client.create_import(**(ONE_FILE | arguments))
        assert listener.connections == 0
    assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


async def ordered(service: str = "internal", **arguments: Any) -> Any:
    """The request that reaches the server, with its metadata."""
    answers = {
        PROXY + "ImportV2": ok(internal_pb2.ImportResponse(jobID=JOB)),
        PUBLIC + "Import": ok(milvus_pb2.ImportResponse(tasks=[int(JOB)])),
    }
    async with (
        Replay(answers) as server,
        ImportClient(server.uri, service=chosen(service)) as client,
    ):
        assert await client.create_import(**(ONE_FILE | arguments)) == JOB
    return server.received[-1]


def chosen(service: Any) -> Any:
    return service


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (300, "300s"),
        (1e9, "1000000000s"),
        (10, "10s"),
        (0.25, "0.25s"),
        (1e-6, "0.000001s"),
        (90.5, "90.5s"),
        (1 / 3, "0.333333s"),
        (timedelta(minutes=5), "300s"),
        (timedelta(days=1, milliseconds=1), "86400.001s"),
        (timedelta(microseconds=1), "0.000001s"),
        ("5m30s", "5m30s"),
        ("whatever Milvus takes", "whatever Milvus takes"),
    ],
)
@pytest.mark.parametrize("name", ["timeout", "Timeout"])
async def test_the_timeout_option_is_sent_as_gos_duration_text(
    name: str, value: Any, sent: str
) -> None:
    request = (await ordered(options={name: value})).message()
    assert [(option.key, option.value) for option in request.options] == [(name, sent)]


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_options_are_sent_as_the_strings_milvus_reads_in_the_given_order(
    service: str,
) -> None:
    options = [
        ("sep", ";"),
        ("auto_commit", False),
        ("backup", True),
        ("start_ts", 2**62),
        ("nullkey", ""),
        ("ezk", "\u00e9"),
    ]
    for given in (options, dict(options), iter(options), [list(pair) for pair in options]):
        request = (await ordered(service, options=given)).message()
        assert [(option.key, option.value) for option in request.options] == [
            ("sep", ";"),
            ("auto_commit", "false"),
            ("backup", "true"),
            ("start_ts", str(2**62)),
            ("nullkey", ""),
            ("ezk", "\u00e9"),
        ]


@pytest.mark.parametrize(
    ("files", "groups"),
    [
        (["a.parquet"], [["a.parquet"]]),
        (("a.parquet", "b.parquet"), [["a.parquet"], ["b.parquet"]]),
        ([["id.npy", "v.npy"], "a.json"], [["id.npy", "v.npy"], ["a.json"]]),
        ([("id.npy", "v.npy")], [["id.npy", "v.npy"]]),
    ],
)
async def test_a_str_is_a_group_and_a_sequence_is_a_group(files: Any, groups: Any) -> None:
    request = (await ordered(files=files)).message()
    assert [list(file.paths) for file in request.files] == groups


async def test_the_public_service_takes_one_group() -> None:
    request = (await ordered("public", files=[["id.npy", "v.npy"]])).message()
    assert list(request.files) == ["id.npy", "v.npy"]
    with refused(ValueError, "files has 2 groups, but the public service takes one a job"):
        await ordered("public", files=["a.parquet", "b.parquet"])


async def test_auto_says_that_the_public_service_takes_one_group() -> None:
    async with (
        Replay({PUBLIC + "Import": ok(milvus_pb2.ImportResponse(tasks=[1]))}) as server,
        ImportClient(server.uri) as client,
    ):
        with refused(
            ValueError, "join the .npy files of one in a list, [[...]], or use port 19529"
        ):
            await client.create_import("books", ["a.parquet", "b.parquet"])
        assert [call.method for call in server.received] == [PROXY + "ImportV2"]


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_names_and_the_idempotency_key_reach_the_server(service: str) -> None:
    key = "".join(map(chr, range(0x20, 0x7F))) + "k" * 161
    assert len(key) == 256
    call = await ordered(
        service, partition_name="p", db_name="shop", idempotency_key=key, metadata={"x-id": "1"}
    )
    request = call.message()
    assert (request.collection_name, request.partition_name) == ("books", "p")
    assert request.db_name == "shop"
    assert call.values("dbname") == ["shop"]
    assert call.values("idempotency-key") == [key]
    assert call.values("x-id") == ["1"]


async def test_without_a_key_none_is_sent() -> None:
    assert (await ordered()).values("idempotency-key") == []
