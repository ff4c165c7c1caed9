"""A member's salts come back after a crash, and nobody else can know them."""

from hmchain.identity import MemberIdentity

MANIFEST = bytes(range(32))
SECRET = b"s" * 32


def test_a_salt_lost_with_its_process_is_found_again() -> None:
    before, after = MemberIdentity.create(SECRET), MemberIdentity.create(SECRET)
    assert before.salt(MANIFEST, 3) == after.salt(MANIFEST, 3)
    assert before.account.address != after.account.address, "only salts follow from the secret"


def test_salts_differ_by_round_job_and_member() -> None:
    member, other = MemberIdentity.create(SECRET), MemberIdentity.create(b"t" * 32)
    salts = {member.salt(MANIFEST, 1), member.salt(MANIFEST, 2), member.salt(bytes(32), 1), other.salt(MANIFEST, 1)}
    assert len(salts) == 4
    assert all(len(salt) == 32 for salt in salts)


def test_members_draw_their_own_secrets() -> None:
    assert MemberIdentity.create().salt(MANIFEST, 1) != MemberIdentity.create().salt(MANIFEST, 1)


def test_no_secret_is_in_the_repr() -> None:
    member = MemberIdentity.create(SECRET)
    shown = repr(member)
    assert member.encryption.secret not in shown
    assert member.account.key.hex() not in shown
    assert repr(SECRET) not in shown
