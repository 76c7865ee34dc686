"""The kinds of personal data: names, labels and what an organisation may choose for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["mask", "block", "off"]
ACTIONS: tuple[Action, ...] = ("mask", "block", "off")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. ``always`` kinds cannot be switched off: the law leaves no room for consent."""

    name: str
    label_ko: str
    label_en: str
    always: bool
    example: str
    masked: str

    @property
    def default(self) -> Action:
        """What happens when the organisation has chosen nothing."""
        return "mask" if self.always else "off"

    @property
    def choices(self) -> tuple[Action, ...]:
        """What the organisation may choose."""
        return ("mask", "block") if self.always else ACTIONS


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "resident_number",
            "주민등록번호",
            "Resident registration number",
            True,
            "901010-1234567",
            "901010-*******",
        ),
        Kind(
            "foreigner_number",
            "외국인등록번호",
            "Foreigner registration number",
            True,
            "901010-5234567",
            "901010-*******",
        ),
        Kind("passport", "여권번호", "Passport number", True, "M12345678", "M********"),
        Kind(
            "driving_licence",
            "운전면허번호",
            "Driving licence number",
            False,
            "11-23-123456-00",
            "**-**-******-**",
        ),
        Kind(
            "mobile",
            "휴대전화번호",
            "Mobile number",
            False,
            "010-1234-5678",
            "***-****-****",
        ),
        Kind(
            "card",
            "카드번호",
            "Card number",
            False,
            "4111 1111 1111 1111",
            "**** **** **** ****",
        ),
        Kind(
            "bank_account",
            "계좌번호",
            "Bank account number",
            False,
            "계좌 110-234-567890",
            "계좌 ***-***-******",
        ),
        Kind(
            "health_insurance",
            "건강보험증번호",
            "Health insurance number",
            False,
            "보험 1-2345678901",
            "보험 *-**********",
        ),
        Kind(
            "email",
            "이메일 주소",
            "E-mail address",
            False,
            "kim@example.com",
            "***@*******.***",
        ),
    )
}
