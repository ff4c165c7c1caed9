"""A member's keys and salts."""

from hmchain.identity import MemberIdentity


def test_every_member_has_its_own_keys() -> None:
    one, other = MemberIdentity.create(), MemberIdentity.create()
    assert one.account.address != other.account.address
    assert one.encryption.public != other.encryption.public
    assert one.salt_secret != other.salt_secret


def test_a_salt_is_found_again_and_is_another_in_every_job_and_round() -> None:
    member = MemberIdentity.create(b"\1" * 32)
    again = MemberIdentity.create(b"\1" * 32)
    assert member.salt(b"job", 3) == again.salt(b"job", 3)
    assert len(member.salt(b"job", 3)) == 32
    salts = {member.salt(b"job", 3), member.salt(b"job", 4), member.salt(b"other", 3)}
    assert len(salts | {MemberIdentity.create(b"\2" * 32).salt(b"job", 3)}) == 4


def test_no_secret_is_shown() -> None:
    member = MemberIdentity.create()
    shown = f"{member!r} {member} {[member]}"
    for secret in (
        member.encryption.secret,
        member.salt_secret.hex(),
        repr(member.salt_secret),
        member.account.key.hex(),
    ):
        assert secret not in shown
