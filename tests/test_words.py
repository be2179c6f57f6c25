import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convnext_path.words import mask, refuse_secrets, shorten, show_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("caf\udce9", "caf\\xe9"),
        ("\ud800", "\\ud800"),
        ("a\nb\0", "a\\nb\\x00"),
        ("\u202eabc", "\\u202eabc"),
        ("\ufeffx\U0010ffff", "\\ufeffx\\U0010ffff"),
        ("\u2028", "\\u2028"),
        ("ResNet-50 é 中文 हिन्दी 👩\u200d🔬 $x^2$ <b>", "ResNet-50 é 中文 हिन्दी 👩\u200d🔬 $x^2$ <b>"),
    ],
)
def test_what_is_no_text_is_escaped(name: str, shown: str) -> None:
    assert show_name(name) == shown


@given(st.text(st.characters(codec=None)))
def test_names_are_one_line_that_any_file_holds(name: str) -> None:
    shown = show_name(name)
    assert shown.encode().decode() == shown
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Cn", "Co", "Zl", "Zp"}
    assert show_name(shown) == shown


def test_lists_of_names_are_text() -> None:
    assert shorten(["a\x1b[2J", "b\n", "c\udcff", "d"], 3) == "a\\x1b[2J, b\\n, c\\xff and 1 more"


#: Addresses whose secrets are all called hunter2.
SECRETS = [
    "s3://KEY:hunter2@bucket/images",
    "s3://KEY:SE/CR+hunter2=@bucket",
    "https://hunter2@host/path",
    "ray://me:hunter2@10.0.0.1:10001",
    "postgres://u:p@hunter2@host",
    "https://hunter2@hunter2@host/x",
    """s3://KEY:SE"hunter2'x@bucket""",
    "https:/KEY:hunter2@host/x",
    "s3://KEY:8000hunter2/x@bucket",
    "https://host/x?X-Amz-Signature=hunter2&X-Amz-Date=1",
    "https://host/x?a=1&X-Amz-Credential=hunter2",
    "https://account.blob/x?sv=1&sig=hunter2",
    "https://host/x?access_token=hunter2#top",
    "https://host/x#id_token=hunter2",
    "gs://bucket/x?api-key=hunter2",
    "hf://u:hunter2@datasets/x",
    "s3://KEY:7/hunter2@bucket",
    "ray://u:7/hunter2@10.0.0.1:10001",
    "https://user:99/hunter2@host.org/x",
    "https://host/x?pass=hunter2",
    "https://host/x?passphrase=hunter2",
    "https://host/x?authorization=hunter2",
    "https://host/x?bearer=hunter2",
    "https://host/x?jwt=hunter2&x=1",
    "https://host/x?sas=hunter2",
    "https://host/x?code=hunter2",
    "https://host/x?sig%3Dhunter2",
    "https://host/x?api_key:hunter2",
    "https://host/x?hmac=hunter2",
    "https://host/x?~hmac=hunter2",
    "https://host/x?a=1&sk=hunter2",
    "https://host/x?__token__=hunter2",
    "https://host/x?sessionid=hunter2",
    "https://host/x?pw=hunter2",
    "https://host/x?api-key-v2=hunter2",
    "https://host/x?ticket=hunter2",
    "//user:hunter2@server/share",
    "user:hunter2@host:/x",
]


@pytest.mark.parametrize("address", SECRETS)
@pytest.mark.parametrize("around", ["{}", "--root={} --study x", "no '{}' here", "a\n{}\nb"])
def test_secrets_of_addresses_are_masked(address: str, around: str) -> None:
    text = mask(around.format(address))
    assert "hunter2" not in text
    assert "***" in text
    assert mask(text) == text
    with pytest.raises(ValueError, match="root .* holds credentials") as error:
        refuse_secrets("root", address)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/folder@2/images",
        "https://host:8080/x?version=3&keep=all",
        "https://host:8000/data@v1",
        "https://host:8000/data@v1.2",
        "http://host:8000/zipcode=1?zipcode=2",
        "https://host:8000/a.b/c",
        "https://host/x?disk=1&mask=2&keyword=3&bypass=4&zipcode=5",
        "12:30@noon",
        "me@host.org",
        "a/b:c@d",
        "--flip kernel_size=7",
        "/data/x?token=1",
        "gs://bucket/monkey=1",
    ],
)
def test_what_holds_no_secret_stays(text: str) -> None:
    refuse_secrets("root", text)
    if "token" not in text:
        assert mask(text) == text


def test_a_secret_may_hold_spaces() -> None:
    with pytest.raises(ValueError, match=r"root https://\*\*\*@host/x holds credentials"):
        refuse_secrets("root", "https://user:my hunter2@host/x")
    refuse_secrets("root", None)
