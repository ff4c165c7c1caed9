"""Names in free words: found however they are written, and nothing else is touched."""

import time
import unicodedata

import pytest

from trainers.importers.measures.naming import mentions, names_in, without

FORMS = ("NFC", "NFD")


def written(form: str, text: str) -> str:
    return unicodedata.normalize(form, text)


@pytest.mark.parametrize("text_form", FORMS)
@pytest.mark.parametrize("name_form", FORMS)
@pytest.mark.parametrize(
    ("name", "text", "left"),
    [
        ("Müller", "Herr Müller wurde entlassen", "Herr [name] wurde entlassen"),
        ("Müller", "Herr MÜLLER wurde entlassen", "Herr [name] wurde entlassen"),
        ("Weiß^Jörg", "Hr. WEISS, Jörg: 3. Tag", "Hr. [name], [name]: 3. Tag"),
        ("Nguyễn^Thị", "bà Nguyễn, khỏe", "bà [name], khỏe"),
        ("Παπαδόπουλος", "ο κ. ΠΑΠΑΔΌΠΟΥΛΟΣ είναι καλά", "ο κ. [name] είναι καλά"),
        ("Adébáyọ̀", "Ms Adébáyọ̀ is well", "Ms [name] is well"),  # its last letter cannot be composed
        ("प्रियंका", "श्रीमती प्रियंका आज", "श्रीमती [name] आज"),  # vowel signs are characters of their own
    ],
)
def test_a_name_is_found_however_it_is_written(name: str, text: str, left: str, name_form: str, text_form: str) -> None:
    names, text = names_in(written(name_form, name)), written(text_form, text)
    assert without({"text": text}, names) == {"text": written(text_form, left)}
    assert mentions([text], names)


def test_words_that_are_no_names_stay_as_they_were_written() -> None:
    text = written("NFD", "café für Müller") + " \u212b"  # the sign of the Ångström, which NFC would write otherwise
    assert without(text, names_in("Müller")) == written("NFD", "café für [name]") + " \u212b"
    assert not mentions(["Muller, Müllerin"], names_in("Müller"))


def test_short_words_and_texts_of_one_word_stay() -> None:
    assert names_in("Voß^Ann^12345^2024-05") == set()
    assert without(["Müller", "Müller!"], names_in("Müller")) == ["Müller", "Müller!"]


def test_marks_without_end_take_no_time_without_end() -> None:
    text, started = "x a" + "\u0301\u0323" * 500_000, time.monotonic()
    same = without(text, names_in("Müller", text)) == text  # and no difference of a million marks to draw
    assert same
    assert time.monotonic() - started < 5.0  # normalised as a whole, it would be an hour
