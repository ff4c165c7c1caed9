#!/bin/sh
# Makes a Kubo 0.42 daemon one of the consortium's private swarm. The image's entry point runs this before every start,
# as the daemon's user. It sets everything each time, so that this file says how the daemon runs, and nothing else does.
#
# From the environment (compose.yaml sets what differs from the defaults):
#   LIBP2P_FORCE_PNET   must be 1: the daemon then refuses to start without a swarm key
#   KUBO_SWARM_KEY      file with the swarm key that all hospitals share
#   KUBO_PEERS          file with the other hospitals' daemons, a JSON array: [{"ID": "12D3…", "Addrs": ["/ip4/…"]}]
#   KUBO_ANNOUNCE       JSON array with this daemon's address as the other hospitals see it
#   KUBO_LISTEN         JSON array: where the swarm listens
#   KUBO_API            JSON array: where the RPC API listens; whoever reaches it is the daemon's administrator
set -eu

key=${KUBO_SWARM_KEY:-/run/secrets/swarm_key}
peers=${KUBO_PEERS:-/etc/kubo/peers.json}
announce=${KUBO_ANNOUNCE:?set KUBO_ANNOUNCE, for instance to ["/ip4/192.0.2.1/tcp/4001"]}
listen=${KUBO_LISTEN:-'["/ip4/0.0.0.0/tcp/4001"]'}
api=${KUBO_API:-'["/ip4/127.0.0.1/tcp/5001"]'}

[ "${LIBP2P_FORCE_PNET:-}" = 1 ] || { echo "LIBP2P_FORCE_PNET is not 1" >&2; exit 1; }
[ -r "$peers" ] || { echo "no list of peers at $peers" >&2; exit 1; }

# The image copies a key only into a new repository; a key that has been changed must reach an old one, too.
install -m 0400 "$key" "$IPFS_PATH/swarm.key"

set_json() { ipfs config --json "$1" "$2"; }

# Nothing of the public network: no bootstrap nodes, no fetched defaults, no routing, no name publishing, no telemetry.
set_json Bootstrap '[]'
set_json AutoConf.Enabled false
set_json AutoTLS.Enabled false
set_json AutoNAT.ServiceMode '"disabled"'
set_json DNS.Resolvers '{}'
set_json Routing.Type '"none"' # a handful of daemons that are all connected: bitswap asks each of them
set_json Routing.DelegatedRouters '[]'
set_json Ipns.DelegatedPublishers '[]'
set_json Provide.Enabled false # there is no routing to announce blobs to
set_json HTTPRetrieval.Enabled false
set_json Discovery.MDNS.Enabled false
set_json Plugins.Plugins.telemetry.Config.Mode '"off"'

# One way in and out. Private swarms know TCP and WebSocket; with both, Kubo complains about sharing the port.
set_json Addresses.Swarm "$listen"
set_json Addresses.Announce "$announce"
set_json Swarm.Transports.Network.TCP true
set_json Swarm.Transports.Network.Websocket false
set_json Swarm.Transports.Network.QUIC false
set_json Swarm.Transports.Network.WebTransport false
set_json Swarm.Transports.Network.WebRTCDirect false
set_json Swarm.Transports.Network.Relay false
set_json Swarm.RelayClient.Enabled false
set_json Swarm.RelayService.Enabled false
set_json Swarm.EnableHolePunching false
set_json Swarm.DisableNatPortMap true

# Connections to the other hospitals are kept and, when lost, made again; they do not count against the limits.
set_json Peering.Peers "$(cat "$peers")"
set_json Swarm.ConnMgr.LowWater 32
set_json Swarm.ConnMgr.HighWater 64
set_json Swarm.ResourceMgr.MaxMemory '"512MiB"'

set_json Addresses.API "$api"
set_json Addresses.Gateway '[]'
set_json Gateway.NoFetch true

# Blobs of past rounds are evidence. Garbage is never collected (compose.yaml does not pass --enable-gc, and StorageMax
# means nothing without it), and a block is on the disk before the hospital tells the chain of it.
set_json Datastore.Spec '{"type": "mount", "mounts": [
  {"mountpoint": "/blocks", "type": "flatfs", "path": "blocks", "prefix": "flatfs.datastore", "sync": true,
   "shardFunc": "/repo/flatfs/shard/v1/next-to-last/2"},
  {"mountpoint": "/", "type": "levelds", "path": "datastore", "prefix": "leveldb.datastore", "compression": "none"}]}'

# A file added by hand gets the CID that the chain knows it by.
set_json Import.CidVersion 1
set_json Import.UnixFSRawLeaves true
set_json Import.UnixFSChunker '"size-262144"'

# Shorter than the grace period in compose.yaml; the default of twelve hours would end in a kill.
set_json Internal.ShutdownTimeout '"45s"'
