"""Parameters of the methods: validated before anything is sent, then built into requests."""

from __future__ import annotations

import logging
import math
import re
from datetime import timedelta
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import uuid4

import pytest

from milvus_import import ArgumentError
from milvus_import._services import _internal, _public
from milvus_import._services._operations import CREATE_JOB
from milvus_import._services._requests import (
    MAX_CREATE_BYTES,
    BucketCredentials,
    CreateParams,
    ImportOptions,
    Volume,
    create_params,
    validate_create_size,
    validate_job_ids,
    without_query,
)

JOB = "449839014328146739"
SECRET = "s3cr3t-Milvus"
JOB_ID_RULE = "job_id must be a decimal integer of at most 2**63-1, got "
JOB_ID_TYPE = "job_id must be a str of digits such as '449839014328146739', got "


def raises(error: type[Exception], message: str) -> Any:
    return pytest.raises(error, match=re.escape(message))


# ------------------------------------------------------------------------------------ job ids


@pytest.mark.parametrize(
    ("job_id", "error", "message"),
    [
        ("", ArgumentError, JOB_ID_RULE + "''"),
        ("abc", ArgumentError, JOB_ID_RULE + "'abc'"),
        ("1.5", ArgumentError, JOB_ID_RULE + "'1.5'"),
        (" 7", ArgumentError, JOB_ID_RULE + "' 7'"),
        ("7\n", ArgumentError, JOB_ID_RULE + r"'7\n'"),
        ("-1", ArgumentError, JOB_ID_RULE + "'-1'"),
        ("+1", ArgumentError, JOB_ID_RULE + "'+1'"),
        ("1_000", ArgumentError, JOB_ID_RULE + "'1_000'"),
        ("0x10", ArgumentError, JOB_ID_RULE + "'0x10'"),
        ("1e3", ArgumentError, JOB_ID_RULE + "'1e3'"),
        ("\u0663", ArgumentError, JOB_ID_RULE + "'\u0663'"),
        ("\uff11", ArgumentError, JOB_ID_RULE + "'\uff11'"),
        ("\u00b2", ArgumentError, JOB_ID_RULE + "'\u00b2'"),
        ("9223372036854775808", ArgumentError, JOB_ID_RULE + "'9223372036854775808'"),
        ("9" * 10_000, ArgumentError, JOB_ID_RULE + "'999"),
        (7, TypeError, JOB_ID_TYPE + "7"),
        (None, TypeError, JOB_ID_TYPE + "None"),
        (b"7", TypeError, JOB_ID_TYPE + "b'7'"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_invalid_job_id_is_named(job_id: Any, error: type[Exception], message: str) -> None:
    with raises(error, message) as caught:
        validate_job_ids([JOB, job_id], or_collection=True)
    assert len(str(caught.value)) < 200


# ---------------------------------------------------------------------------- import requests


def params(**changed: Any) -> CreateParams:
    arguments: dict[str, Any] = {
        "collection_name": "books",
        "files": ["a.parquet"],
        "partition_name": "",
        "db_name": "",
        "options": None,
    }
    return create_params(**(arguments | changed))


TIMEOUT_RULE = "option 'timeout' must be 1e-6 to 1e9 seconds, got "
TIMEOUT_TYPE = "option 'timeout' must be seconds, a timedelta or text such as '300s', got "
INVALID: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"collection_name": ""}, ArgumentError, "collection_name must not be empty"),
    ({"collection_name": None}, TypeError, "collection_name must be a str, got None"),
    ({"collection_name": "\udc80"}, ArgumentError, "collection_name must be valid Unicode text"),
    ({"partition_name": 5}, TypeError, "partition_name must be a str, got 5"),
    ({"db_name": 5}, TypeError, "db_name must be a str, got 5"),
    ({"files": []}, ArgumentError, "files must name at least one file"),
    ({"files": "a.parquet"}, TypeError,
     "files must be a list of paths, got 'a.parquet'; write files=['a.parquet']"),
    ({"files": Path("a")}, TypeError, "files must be a list of paths, got 'a'; write files=['a']"),
    ({"files": b"a.parquet"}, TypeError, "files must be a list of paths, got bytes"),
    ({"files": {"a"}}, TypeError, "files must be a list of paths, got set; write files=list("),
    ({"files": (file for file in "a")}, TypeError,
     "files must be a list of paths, got generator; write files=list("),
    ({"files": None}, TypeError, "files must be a list of paths, got NoneType"),
    ({"files": [""]}, ArgumentError, "files[0] must not hold an empty path"),
    ({"files": ["a", []]}, ArgumentError, "files[1] must not be an empty group"),
    ({"files": ["a", ["b", ""]]}, ArgumentError, "files[1] must not hold an empty path"),
    ({"files": f"https://host/a.json?sig={SECRET}"}, TypeError,
     "files must be a list of paths, got 'https://host/a.json'; write files=['https://host/a.j"),
    ({"files": [b"a"]}, TypeError, "files[0] must be a path or a sequence of paths, got b'a'"),
    ({"files": [["a", ["b"]]]}, TypeError, "files[0] must hold paths, each a str or a PurePath, "),
    ({"files": [["a", b"b"]]}, TypeError, "each a str or a PurePath, got b'b'"),
    ({"files": [PurePosixPath("")]}, ArgumentError, "files[0] must not hold an empty path"),
    ({"files": ["a.json", PurePosixPath("s3://bucket/a.json")]}, ArgumentError,
     "files[1] must be a str if it is a URL: a path keeps only one of its slashes, got 's3:/buc"),
    ({"files": [[PureWindowsPath("https://host/a.json?sig=" + SECRET)]]}, ArgumentError,
     "files[0] must be a str if it is a URL: a path keeps only one of its slashes, got 'https:/"),
    ({"files": ["a.json\n"]}, ArgumentError, "files[0] must not begin or end with a line break"),
    ({"files": [["a.json", "\ufeffb.json"]]}, ArgumentError, "begin or end with a byte order mark"),
    ({"files": ["id.npy", "vec.npy"]}, ArgumentError,
     "files must hold all .npy columns in one group, as in [['id.npy', 'vec.npy']]"),
    ({"files": ["a/id.npy", "b/id.npy", "a/v.NPY", "b/v.NPY", "c.parquet"]}, ArgumentError,
     "in one group, as in [['a/id.npy', 'a/v.NPY'], ['b/id.npy', 'b/v.NPY']]"),
    ({"files": [["id.npy"], ["vec.npy"]]}, ArgumentError,
     "in one group, as in [['id.npy', 'vec.npy']]"),
    ({"files": [f"https://b/id.npy?s={SECRET}", f"https://b/v.npy?s={SECRET}"]}, ArgumentError,
     "in one group, as in [['https://b/id.npy', 'https://b/v.npy']]"),
    ({"collection_name": "books\n"}, ArgumentError, r"with a line break, got 'books\n'"),
    ({"collection_name": "'books'"}, ArgumentError, "collection_name must not begin or end with q"),
    ({"partition_name": "p\r\n"}, ArgumentError, "partition_name must not begin or end with a lin"),
    ({"storage": {"access_key": SECRET}}, TypeError,
     "storage must be BucketCredentials, a Volume or None, got dict"),
    ({"files": ["a\udc80"]}, ArgumentError, "files[0] must be valid Unicode text"),
    ({"options": "timeout=5"}, TypeError,
     "options must be a mapping or pairs of key and value, got str"),
    ({"options": 5}, TypeError, "options must be a mapping or pairs of key and value, got int"),
    ({"options": ["timeout"]}, TypeError, "options must hold pairs of key and value; entry 0"),
    ({"options": [("a", "b", "c")]}, TypeError,
     "options must hold pairs of key and value; entry 0"),
    ({"options": {5: "a"}}, TypeError, "the name of an option must be a str, got 5"),
    ({"options": {"": "a"}}, TypeError, "the name of an option must be a str, got ''"),
    ({"options": [("sep", ","), ("sep", ";")]}, ArgumentError, "option 'sep' is given twice"),
    ({"options": {"start_ts": 1, "startTs": 2}}, ArgumentError, "option 'startTs' is given twice"),
    ({"options": {"auto_comit": False}}, ArgumentError,
     "option 'auto_comit' is unknown, and Milvus would ignore it: write 'auto_commit'"),
    *[
        ({"options": {name: False}}, ArgumentError, f"would ignore it: write {known!r}")
        for name, known in {
            "autocommit": "auto_commit",
            "auto-commit": "auto_commit",
            "AUTO_COMMIT": "auto_commit",
            "autoCommit": "auto_commit",
            "auto_commit ": "auto_commit",
            "auto_commits": "auto_commit",
            "Timeout": "timeout",
            "time_out": "timeout",
            "null_key": "nullkey",
            "backups": "backup",
            "L0Import": "l0_import",
            "startts": "start_ts",
            "skip_disk_quota_checks": "skip_disk_quota_check",
        }.items()
    ],
    *[
        (
            {"options": {"timeout": text}},
            ArgumentError,
            f"a timedelta or a duration of Go, such as '300s' or '1h30m', got {text!r}",
        )
        for text in ("300", "", "300 s", "5min", "1d", "-5s", "1h30", "5S", "s", ".s", "300s\n")
    ],
    ({"options": {"timeout": "0s"}}, ArgumentError, TIMEOUT_RULE + "'0s'"),
    ({"options": {"timeout": "999999999h"}}, ArgumentError, TIMEOUT_RULE + "'999999999h'"),
    ({"options": {"timeout": 0}}, ArgumentError, TIMEOUT_RULE + "0"),
    ({"options": {"timeout": -1.5}}, ArgumentError, TIMEOUT_RULE + "-1.5"),
    ({"options": {"timeout": 1e-7}}, ArgumentError, TIMEOUT_RULE + "1e-07"),
    ({"options": {"timeout": math.nan}}, ArgumentError, TIMEOUT_RULE + "nan"),
    ({"options": {"timeout": math.inf}}, ArgumentError, TIMEOUT_RULE + "inf"),
    ({"options": {"timeout": 2e9}}, ArgumentError, TIMEOUT_RULE + "2000000000.0"),
    ({"options": {"timeout": timedelta(0)}}, ArgumentError, TIMEOUT_RULE + "datetime.timedelta(0)"),
    ({"options": {"timeout": timedelta.max}}, ArgumentError, TIMEOUT_RULE + "datetime.timedelta("),
    ({"options": {"timeout": True}}, TypeError, TIMEOUT_TYPE + "True"),
    ({"options": {"timeout": None}}, TypeError, TIMEOUT_TYPE + "None"),
    ({"options": {"auto_commit": "false"}}, TypeError,
     "option 'auto_commit' must be True or False, got str"),
    ({"options": {"auto_commit": 0}}, TypeError,
     "option 'auto_commit' must be True or False, got int"),
    ({"options": {"ezk": SECRET.encode()}}, TypeError,
     "option 'ezk' must be a str, a bool or an int, got bytes"),
    ({"options": {"ezk": [SECRET]}}, TypeError,
     "option 'ezk' must be a str, a bool or an int, got list"),
    ({"options": {"ezk": f"{SECRET}\udc80"}}, ArgumentError, "option 'ezk' must be valid Unicode"),
    ({"options": {"start_ts": 1.5}}, TypeError, "option 'start_ts' must be a str, a bool or an i"),
    ({"options": {"start_ts": None}}, TypeError, "option 'start_ts' must be a str, a bool or an"),
    ({"options": {"sep\udc80": ","}}, ArgumentError,
     "the name of an option must be valid Unicode text"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    INVALID,
    ids=[f"{index}-{next(iter(row[0]))}" for index, row in enumerate(INVALID)],
)
def test_invalid_part_of_an_import_request_is_named(
    changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    with raises(error, message) as caught:
        params(**changed)
    assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


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
        ("1.5h", "1.5h"),
        ("1h2m3.5s4ms5us6ns7\u00b5s8\u03bcs", "1h2m3.5s4ms5us6ns7\u00b5s8\u03bcs"),
    ],
)
def test_timeout_option_is_sent_as_a_duration_of_go(value: Any, sent: str) -> None:
    assert params(options={"timeout": value}).options == [("timeout", sent)]


def test_every_known_option_is_accepted_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = ImportOptions.__optional_keys__ - {"startTs", "endTs"}  # the same as start_ts, end_ts
    for known in (names, ["startTs", "endTs"]):
        given: dict[str, Any] = {name: name == "auto_commit" or 5 for name in known}
        assert {name for name, _ in params(options=given).options} == set(known)
    assert caplog.records == []


def test_options_are_sent_as_strings_in_the_given_order() -> None:
    options = {
        "sep": ";",
        "auto_commit": False,
        "backup": True,
        "start_ts": 2**62,
        "nullkey": "",
        "ezk": "\u00e9",
    }
    sent = options | {"auto_commit": "false", "backup": "true", "start_ts": str(2**62)}
    pairs = list(options.items())
    for given in (options, pairs, iter(pairs), [list(pair) for pair in pairs]):
        create = params(options=given)
        for method in (_internal.METHODS[CREATE_JOB], _public.METHODS[CREATE_JOB]):
            request: Any = method.build(create)
            assert [(option.key, option.value) for option in request.options] == [*sent.items()]


def test_unknown_option_is_logged_once_and_sent(caplog: pytest.LogCaptureFixture) -> None:
    name = f"priority_{uuid4().hex}"
    with caplog.at_level(logging.WARNING, "milvus_import"):
        for _ in range(2):
            create = params(options={name: SECRET})
            assert create.options == [(name, SECRET)]
            assert SECRET not in repr(create)
        params(options={"backup": True, "ezk": SECRET, "l0_import": True})
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        f"import option {name} is unknown to this client; Milvus may ignore it"
    )


@pytest.mark.parametrize(
    ("files", "groups"),
    [
        (["a.parquet"], [["a.parquet"]]),
        (("a.parquet", "b.parquet"), [["a.parquet"], ["b.parquet"]]),
        ([["id.npy", "v.npy"], "a.json"], [["id.npy", "v.npy"], ["a.json"]]),
        ([("id.npy", "v.npy")], [["id.npy", "v.npy"]]),
        (["a/vec.npy", "b/vec.npy"], [["a/vec.npy"], ["b/vec.npy"]]),
        ([["a/id.npy", "a/v.npy"], ["b/id.npy", "b/v.npy"]],) * 2,
        ([PurePosixPath("a//b.json"), Path("c.json")], [["a/b.json"], ["c.json"]]),
        ([["id.npy", PurePosixPath("v.npy")]], [["id.npy", "v.npy"]]),
        ([PureWindowsPath("a\\b.json")], [["a/b.json"]]),
        ([PureWindowsPath("C:\\a\\b.json")], [["C:/a/b.json"]]),
        (["s3://bucket/a.json", "s3://bucket/b/"], [["s3://bucket/a.json"], ["s3://bucket/b/"]]),
    ],
)
def test_str_is_a_file_group_and_sequence_is_a_file_group(files: Any, groups: Any) -> None:
    create = params(files=files)
    assert create.groups == groups
    request: Any = _internal.METHODS[CREATE_JOB].build(create)
    assert [list(file.paths) for file in request.files] == groups


def test_error_of_a_request_that_is_too_large_names_the_rule_and_the_reason() -> None:
    validate_create_size(MAX_CREATE_BYTES)
    with pytest.raises(ArgumentError) as raised:
        validate_create_size(MAX_CREATE_BYTES + 1)
    assert str(raised.value).startswith(
        "files must make a request of at most 1468006 bytes (1.4 MiB), got 1468007: Milvus does not"
    )


# -------------------------------------------------------------------------------- Zilliz Cloud


def test_repr_of_a_storage_shows_no_secret() -> None:
    shown = f"{BucketCredentials(SECRET, SECRET, SECRET)!r} {Volume('books')!r}"
    assert shown == "BucketCredentials(...) Volume(name='books')"
    with raises(ArgumentError, "storage must be None unless service='cloud'") as caught:
        params(storage=BucketCredentials("a", SECRET))
    assert SECRET not in repr(caught.value)


NUMBER: Any = 5
BYTES: Any = b"x"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BucketCredentials("", SECRET), ArgumentError, "access_key must not be empty"),
        (lambda: BucketCredentials(SECRET, ""), ArgumentError, "secret_key must not be empty"),
        (lambda: BucketCredentials("a", SECRET + "\n"), ArgumentError,
         "secret_key must not begin or end with a line break"),
        (lambda: BucketCredentials("a", "s", SECRET + "\n"), ArgumentError,
         "session_token must not begin or end with a line break"),
        (lambda: Volume(""), ArgumentError, "the name of a Volume must not be empty"),
        (lambda: BucketCredentials("a", NUMBER), TypeError, "secret_key must be a str, got int"),
        (lambda: BucketCredentials("a", BYTES), TypeError, "secret_key must be a str, got b"),
        (lambda: Volume(NUMBER), TypeError, "the name of a Volume must be a str, got 5"),
        (lambda: Volume("v\n"), ArgumentError, "the name of a Volume must not begin or end with a"),
    ],
)  # fmt: skip
def test_invalid_storage_is_named_without_secrets(
    make: Any, error: type[Exception], message: str
) -> None:
    with raises(error, message) as caught:
        make()
    assert SECRET not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a.json?X-Amz-Signature=1#x", "https://host/a.json"),
        ("s3://key:secret@bucket/a.json", "s3://bucket/a.json"),
        ("s3://bucket/a@b.json", "s3://bucket/a@b.json"),
        ("a/b.json", "a/b.json"),
    ],
)
def test_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_query(url) == shown
