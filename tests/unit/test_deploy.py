"""What deploy/ holds agrees with itself, with the code and with what Besu, Kubo and Compose take.

Nothing here runs Docker or Besu. The names of Besu's options and genesis items were looked up in its documentation.
"""

import importlib.util
import ipaddress
import json
import os
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import rlp
import yaml

from hmchain.chain import GAS, LOG_SPAN
from hmchain.contract import Artifact

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
BESU = tomllib.loads((DEPLOY / "besu/config.toml").read_text())
TEMPLATE = json.loads((DEPLOY / "besu/qbftConfigFile.json").read_text())
GENESIS = TEMPLATE["genesis"]
DOCKERFILE = (DEPLOY / "node/Dockerfile").read_text()
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
LOCAL = {"site", "__pycache__", ".env"}  # what a hospital, and Python, may have put there
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and not LOCAL & set(path.relative_to(DEPLOY).parts))

MIX_HASH = "0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365"
BESU_OPTIONS = {  # of Besu 26.9.0, each read in its reference
    *("data-path", "genesis-file", "node-private-key-file", "sync-mode", "data-storage-format", "sync-min-peers"),
    *("version-compatibility-protection", "p2p-port", "p2p-host", "nat-method", "discovery-enabled"),
    *("static-nodes-file", "permissions-nodes-config-file-enabled", "permissions-nodes-config-file"),
    *("remote-connections-limit-enabled", "min-gas-price", "tx-pool", "tx-pool-no-local-priority"),
    *("tx-pool-limit-by-account-percentage", "rpc-http-enabled", "rpc-http-host", "rpc-http-port", "rpc-http-api"),
    *("host-allowlist", "rpc-max-logs-range", "rpc-http-max-active-connections", "revert-reason-enabled"),
    *("metrics-enabled", "metrics-host", "metrics-port", "logging", "color-enabled", "config-file"),
}
SECRET = re.compile(
    r"AGE-SECRET-KEY-1|PRIVATE KEY-----|\b(?:0x)?[0-9a-f]{64}\b|(?i:password|secret|token)\s*[=:]\s*[\"']?[\w+/]{16}"
)


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DEPLOY / f"besu/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


network = load_script("network")
ENODES = [network.enode_of(number.to_bytes(32, "big"), f"192.0.2.{number}") for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_every_file_is_what_it_is_called(path: Path) -> None:
    parsers: dict[str, Any] = {".yaml": yaml.safe_load, ".json": json.loads, ".toml": tomllib.loads}
    text = path.read_text(encoding="utf8")
    if path.suffix in parsers:
        assert parsers[path.suffix](text)
    if path.suffix == ".sh":
        subprocess.run(["sh", "-n", str(path)], check=True)
    assert os.access(path, os.X_OK) == text.startswith("#!")


@pytest.mark.parametrize("path", [*FILES, ROOT / "docs/runbook.md"], ids=lambda path: path.name)
def test_no_file_holds_a_secret(path: Path) -> None:
    lines = path.read_text(encoding="utf8").replace(MIX_HASH, "").splitlines()
    assert [line for line in lines if SECRET.search(line) and "/run/secrets/" not in line] == []


# The chain


def test_the_chain_is_at_cancun_as_the_contracts_are() -> None:
    compiled_for = tomllib.loads((ROOT / "foundry.toml").read_text())["profile"]["default"]["evm_version"]
    forks = {key for key in GENESIS["config"] if key.endswith(("Block", "Time"))}
    assert compiled_for == "cancun"
    assert forks == {"berlinBlock", "londonBlock", "shanghaiTime", "cancunTime"}
    assert not any(GENESIS["config"][fork] for fork in forks)


def test_the_genesis_has_what_qbft_and_free_gas_ask_for() -> None:
    config = GENESIS["config"]
    assert config["qbft"] == {"blockperiodseconds": 2, "epochlength": 30000, "requesttimeoutseconds": 4}
    assert (GENESIS["mixHash"], GENESIS["difficulty"], GENESIS["nonce"]) == (MIX_HASH, "0x1", "0x0")
    assert config["zeroBaseFee"] is True
    assert (GENESIS["baseFeePerGas"], BESU["min-gas-price"]) == ("0x0", 0)
    assert GENESIS["alloc"] == {}
    assert "extraData" not in GENESIS
    assert TEMPLATE["blockchain"]["nodes"] == {"generate": True, "count": 4}


def test_contract_and_transactions_fit() -> None:
    assert int(GENESIS["gasLimit"], 16) >= max(30_000_000, 2 * GAS)
    assert all(
        len(Artifact.load(name).runtime) <= GENESIS["config"]["contractSizeLimit"] for name in ("HMChain", "Ballots")
    )


def test_extra_data_is_besus_own_example() -> None:
    """The four validators and the string in Besu's documentation of QBFT, "Generate extra data"."""
    validators = [
        *("0x4592c8e45706cc08b8f44b11e43cba0cfc5892cb", "0x06e23768a0f59cf365e18c2e0c89e151bcdedc70"),
        *("0xc5327f96ee02d7bcbc1bf1236b8c15148971e1de", "0xab5e7f4061c605820d3744227eed91ff8e2c8908"),
    ]
    published = (
        f"0xf87aa0{'00' * 32}f854944592c8e45706cc08b8f44b11e43cba0cfc5892cb9406e23768a0f59cf365e18c2e0c89e151bcdedc70"
        "94c5327f96ee02d7bcbc1bf1236b8c15148971e1de94ab5e7f4061c605820d3744227eed91ff8e2c8908c080c0"
    )
    assert network.extra_data(validators) == published


def test_the_genesis_names_the_validators_whatever_their_order() -> None:
    text = network.genesis(ENODES)
    vanity, validators, vote, round_number, seals = rlp.decode(bytes.fromhex(json.loads(text)["extraData"][2:]))
    assert (vanity, vote, round_number, seals) == (bytes(32), [], b"", [])
    assert ["0x" + validator.hex() for validator in validators] == sorted(map(network.address_of, ENODES))
    assert network.genesis(ENODES[::-1]) == text
    assert json.loads(text) == GENESIS | {"extraData": json.loads(text)["extraData"]}


def test_an_address_is_ethereums() -> None:
    assert network.address_of(ENODES[0]) == "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"  # of private key 1


@pytest.mark.parametrize(
    "enode",
    [
        "",
        "enode://ab@192.0.2.1:30303",
        ENODES[0].replace("192.0.2.1", "besu.example"),
        ENODES[0].replace("192.0.2.1", "192.0.2.999"),
        ENODES[0].replace("30303", "99999"),
        ENODES[0] + "?discport=0",
    ],
)
def test_what_is_no_enode_is_refused(enode: str) -> None:
    with pytest.raises(ValueError, match=r"enode|Octet"):
        network.public_key(enode)


def test_fewer_than_four_validators_are_refused() -> None:
    with pytest.raises(ValueError, match="tolerate"):
        network.genesis(ENODES[:3])


def test_a_hospital_that_joins_changes_the_lists_and_not_the_genesis(tmp_path: Path) -> None:
    network.write(ENODES, tmp_path)
    first = (tmp_path / "genesis.json").read_text()
    elsewhere = ENODES[0].replace("192.0.2.1", "198.51.100.1")  # it calls out from another address
    nodes = network.read_nodes("\n".join([f"{ENODES[0]}  # St. Mary's", "", elsewhere, *ENODES[1:]]))
    network.write([*nodes, fifth := network.enode_of(b"\5" * 32, "192.0.2.5", 30304)], tmp_path)
    assert (tmp_path / "genesis.json").read_text() == first
    assert json.loads((tmp_path / "static-nodes.json").read_text()) == [*ENODES, fifth]
    allowed = tomllib.loads((tmp_path / "permissions_config.toml").read_text())
    assert allowed == {"nodes-allowlist": [ENODES[0], elsewhere, *ENODES[1:], fifth]}


# Besu


def test_besu_is_given_options_that_it_has() -> None:
    given = [option.removeprefix("--").partition("=")[0] for option in SERVICES["besu"]["command"]]
    assert set(BESU) | set(given) <= BESU_OPTIONS


def test_besu_lets_in_only_who_is_listed_and_opens_no_door() -> None:
    folder = BESU["data-path"]
    assert BESU["permissions-nodes-config-file-enabled"] is True
    assert BESU["permissions-nodes-config-file"] == f"{folder}/permissions_config.toml"
    assert (BESU["static-nodes-file"], BESU["genesis-file"]) == (
        f"{folder}/static-nodes.json",
        f"{folder}/genesis.json",
    )
    assert BESU["discovery-enabled"] is False
    assert BESU["rpc-http-api"] == ["ETH", "NET", "WEB3"]
    assert SERVICES["besu"]["environment"]["BESU_RPC_HTTP_API"] == "${BESU_RPC_HTTP_API:-ETH,NET,WEB3}"
    assert "*" not in BESU["host-allowlist"]
    assert not {"rpc-http-host", "metrics-host"} & set(BESU)  # the image's environment would override them


def test_besu_answers_as_many_blocks_as_we_ask_for() -> None:
    assert BESU["rpc-max-logs-range"] >= LOG_SPAN


# Kubo


@pytest.fixture
def fake_ipfs(tmp_path: Path) -> Path:
    """An `ipfs` that writes down what it is told."""
    program = tmp_path / "bin/ipfs"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\0" "$@" >>"$IPFS_PATH/told"\nprintf "\\0" >>"$IPFS_PATH/told"\n')
    program.chmod(0o755)
    return program.parent


def configure(fake_ipfs: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    folder = fake_ipfs.parent
    (folder / "peers.json").write_text('[{"ID": "12D3", "Addrs": ["/ip4/192.0.2.2/tcp/4001"]}]')
    (folder / "key").write_text("/key/swarm/psk/1.0.0/\n")
    environment = {
        "PATH": f"{fake_ipfs}:{os.environ['PATH']}",
        "IPFS_PATH": str(folder),
        "LIBP2P_FORCE_PNET": "1",
        "KUBO_SWARM_KEY": str(folder / "key"),
        "KUBO_PEERS": str(folder / "peers.json"),
        "KUBO_ANNOUNCE": '["/ip4/192.0.2.1/tcp/4001"]',
    }
    script = ["sh", str(DEPLOY / "kubo/001-private.sh")]
    return subprocess.run(script, env=environment | changes, capture_output=True, text=True, check=False)


def test_kubo_is_told_to_keep_to_the_private_swarm(fake_ipfs: Path, tmp_path: Path) -> None:
    done = configure(fake_ipfs)
    assert (done.returncode, done.stderr) == (0, "")
    calls = [call.split("\0") for call in (tmp_path / "told").read_text().split("\0\0")[:-1]]
    assert all(call[:2] == ["config", "--json"] for call in calls)
    told = {key: json.loads(value) for _, _, key, value in calls}
    network = {name: told[f"Swarm.Transports.Network.{name}"] for name in ("TCP", "Websocket", "QUIC", "Relay")}
    assert network == {"TCP": True, "Websocket": False, "QUIC": False, "Relay": False}
    assert not any(told[f"Swarm.Transports.Network.{name}"] for name in ("WebTransport", "WebRTCDirect"))
    assert told["Bootstrap"] == told["Addresses.Gateway"] == []
    assert told["Routing.Type"] == "none"
    off = (
        "AutoConf",
        "AutoTLS",
        "Provide",
        "Discovery.MDNS",
        "HTTPRetrieval",
        "Swarm.RelayClient",
        "Swarm.RelayService",
    )
    assert not any(told[f"{part}.Enabled"] for part in off)
    assert told["Addresses.API"] == ["/ip4/127.0.0.1/tcp/5001"]
    assert told["Peering.Peers"][0]["ID"] == "12D3"
    assert told["Datastore.Spec"]["mounts"][0]["sync"] is True
    assert stat.S_IMODE((tmp_path / "swarm.key").stat().st_mode) == 0o400


@pytest.mark.parametrize(
    "changes", [{"LIBP2P_FORCE_PNET": ""}, {"KUBO_SWARM_KEY": "/none"}, {"KUBO_PEERS": "/none"}, {"KUBO_ANNOUNCE": ""}]
)
def test_kubo_does_not_start_half_configured(fake_ipfs: Path, tmp_path: Path, changes: dict[str, str]) -> None:
    assert configure(fake_ipfs, **changes).returncode != 0
    assert not (tmp_path / "told").exists()


def test_garbage_is_never_collected() -> None:
    assert SERVICES["kubo"]["command"] == ["daemon", "--migrate=true"]


def test_a_swarm_key_is_what_libp2p_reads(tmp_path: Path) -> None:
    script = str(DEPLOY / "kubo/make-swarm-key.sh")
    keys = [tmp_path / "one", tmp_path / "two"]
    for key in keys:
        subprocess.run(["sh", script, str(key)], check=True)
        assert re.fullmatch(r"/key/swarm/psk/1\.0\.0/\n/base16/\n[0-9a-f]{64}\n", key.read_text())
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert keys[0].read_text() != keys[1].read_text()
    assert subprocess.run(["sh", script, str(keys[0])], capture_output=True, check=False).returncode != 0


# The site


def test_every_image_is_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()] + re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == 5
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+[\w.-]*(@sha256:\w+)?$", image)] == []


def test_only_the_peers_ports_are_published() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert published == {"besu": ["30303:30303/tcp"], "kubo": ["4001:4001/tcp"], "hmchain": []}
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert SERVICES["hmchain"]["networks"] == ["inside"]


def test_rpc_and_api_are_bound_to_the_inside() -> None:
    (range_,) = COMPOSE["networks"]["inside"]["ipam"]["config"]
    besu, kubo = (SERVICES[name]["networks"]["inside"]["ipv4_address"] for name in ("besu", "kubo"))
    for address in (besu, kubo):
        assert ipaddress.ip_address(address) in ipaddress.ip_network(range_["subnet"])
        assert ipaddress.ip_address(address) not in ipaddress.ip_network(range_["ip_range"])
    assert {f"--rpc-http-host={besu}", f"--metrics-host={besu}"} <= set(SERVICES["besu"]["command"])
    assert f"/dev/tcp/{besu}/{BESU['rpc-http-port']} " in SERVICES["besu"]["healthcheck"]["test"][-1]
    api = json.loads(SERVICES["kubo"]["environment"]["KUBO_API"])
    assert api == ["/ip4/127.0.0.1/tcp/5001", f"/ip4/{kubo}/tcp/5001"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert "healthcheck" in service or "HEALTHCHECK" in DOCKERFILE
    assert not {"privileged", "network_mode", "pid", "cap_add"} & set(service)


def test_every_file_that_the_site_mounts_is_there_or_made_by_the_runbook() -> None:
    sources = [mount["source"] for service in SERVICES.values() for mount in service["volumes"]]
    sources += [secret["file"] for secret in COMPOSE["secrets"].values()]
    own = [source.removeprefix("${SITE_DIR:-./site}/") for source in sources if source.startswith("${SITE_DIR")]
    assert [source for source in sources if source.startswith("./") and not (DEPLOY / source).is_file()] == []
    assert [source for source in own if f"site/{source}" not in RUNBOOK] == []
    assert len(own) == 7
    used = {secret for service in SERVICES.values() for secret in service["secrets"]}
    assert used == set(COMPOSE["secrets"])


def test_every_variable_is_explained_and_none_too_many() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    given = set(re.findall(r"^(\w+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
    assert used == given


# The node


def test_the_image_runs_as_nobody_else_and_holds_only_what_is_listed() -> None:
    assert f"USER {SERVICES['hmchain']['user']}" in DOCKERFILE
    assert f"useradd --uid {SERVICES['hmchain']['user'].partition(':')[0]} " in DOCKERFILE
    assert SERVICES["hmchain"]["build"] | {"args": None} == {
        "context": "..",
        "dockerfile": "deploy/node/Dockerfile",
        "args": None,
    }
    copied = re.findall(r"^COPY (?!--from)(?:--chmod=\d+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    rules = (DEPLOY / "node/Dockerfile.dockerignore").read_text().splitlines()
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == sources
    assert "*" in rules


def test_the_node_finds_its_neighbours() -> None:
    from trainers.config import load

    config = load(DEPLOY / "node/hospital.example.toml")
    assert config.chain.urls == (f"http://besu:{BESU['rpc-http-port']}",)
    assert "besu" in BESU["host-allowlist"]
    assert config.blobs.store == "ipfs:/dns4/kubo/tcp/5001"
    assert config.keys.password_file == Path("/run/secrets/hmchain_password")
    assert f"http://{config.health.listen}/healthz" in DOCKERFILE
    assert 0 < config.limits.memory_mib < 4096
    assert 'memory: "${HMCHAIN_MEMORY:-4g}"' in (DEPLOY / "compose.yaml").read_text()


def test_alarms_are_about_metrics_that_there_are_and_lead_somewhere() -> None:
    from trainers.health import Health

    known = {sample.name for metric in Health(60.0).registry.collect() for sample in metric.samples}
    known |= {
        f"hmchain_{name}" for name in ("round", "phase", "actions_total", "faults_total")
    }  # until they have labels
    rules = [
        rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
    ]
    used = {name for rule in rules for name in re.findall(r"hmchain_\w+", rule["expr"])}
    assert used <= known
    headings = set(re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE))
    assert {rule["annotations"]["runbook"] for rule in rules} <= headings


# The runbook


def test_the_runbooks_links_lead_somewhere() -> None:
    headings = re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", RUNBOOK)
    assert [link for link in links if link.startswith("#") and link[1:] not in anchors] == []
    assert [link for link in links if not link.startswith("#") and not (ROOT / "docs" / link).exists()] == []


def test_the_runbooks_commands_are_hmchains() -> None:
    from coordinator.cli import main

    called = set(re.findall(r"\bhm ((?:members|job) \w+|[a-z]\w+)", RUNBOOK))
    known = set(main.commands) | {
        f"{group} {name}" for group in ("members", "job") for name in getattr(main.commands[group], "commands", {})
    }
    assert len(called) > 8
    assert called <= known
