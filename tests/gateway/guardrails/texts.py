"""Texts for the guardrail tests: synthetic numbers in the surroundings that make masking hard."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

from hypothesis import strategies as st

from gateway.guardrails.kinds import KINDS
from gateway.guardrails.personal import Policy

TODAY = date(2026, 11, 13)
EVERYTHING = Policy.of(dict.fromkeys(KINDS, "mask"))
DEFAULT = Policy.of()

NUMBERS = [
    "901010-1234567",
    "9010101234567",
    "901010 . 5234567",
    "840229-2000000",
    "850229-1000000",
    "M12345678",
    "G123A4567",
    "11-23-123456-00",
    "010-1234-5678",
    "+82 10-1234-5678",
    "01012345678",
    "4111 1111 1111 1111",
    "4111-1111-1111-1112",
    "378282246310005",
    "110-234-567890",
    "123456-78-901234-56",
    "1-2345678901",
    "123-45-67891",
    "kim.lee+a@example.co.kr",
    "a@b.c1.de",
    "８０１０１０－１２３４５６７",
    "9010\u200b10\u2013123\u00ad4567",
]
WORDS = [
    "계좌 ",
    "보험",
    "바코드: ",
    '"created_at": ',
    "timestamp=",
    "data:image/png;base64,",
    "입니다",
    "으로 ",
    "1\ufe0f\u20e3",
]
GLUE = [
    "",
    " ",
    "-",
    ".",
    ", ",
    "\n",
    "@",
    "M",
    "0",
    "9",
    "(",
    ")",
    "+",
    "*",
    "ㅡ",
    "①",
    "…",
    "\u200b",
    '"',
    "가",
    "com",
    "e5",
]

pieces = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(WORDS),
    st.sampled_from(GLUE),
    st.text(alphabet="0123456789-. @MSxk가\u200b", max_size=12),
)
texts = st.lists(pieces, max_size=14).map("".join)


@st.composite
def cut_texts(draw: st.DrawFn, source: st.SearchStrategy[str] = texts) -> tuple[str, list[str]]:
    """A text, and the same in pieces."""
    text = draw(source)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    bounds = [0, *cuts, len(text)]
    return text, [text[low:high] for low, high in pairwise(bounds)]
