package store

import (
	"strconv"
	"strings"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// root is where all fleets live in Consul's KV.
const root = "tlsfleet/"

// The keys of a fleet, below tlsfleet/<fleet>/.
const (
	metaPath      = "meta"
	leaderPath    = "leader"
	ringPath      = "tickets/ring"
	reportsPath   = "nodes/"
	inventoryPath = "inventory/"
	headPath      = inventoryPath + "head"
	shardsPath    = inventoryPath + "shards/"
	bundlesPath   = "bundles/"
	chainsPath    = "chains/"
	issuancePath  = "issuance/" // <first two digits of the ID>/<ID>
	intakePath    = "intake/"
	accountPath   = "acme/account"
	answerPath    = "acme/answer"
	ledgersPath   = "acme/ledgers/"

	challengesPath = "acme/challenges/"

	sitesPath    = "sites/"
	siteHeadPath = sitesPath + "head"

	sealStatePath = "keyring/state"
	rotationPath  = "keyring/rotation"
	grantsPath    = "keyring/nodes/" // <node>

	wavesPath       = "waves/"
	wavePath        = wavesPath + "current"
	pinnedHeadsPath = wavesPath + "heads/" // <epoch>
	pinnedSitesPath = wavesPath + "sites/" // <ID>/<epoch>

	reloadPath = "reload/"
	limitPath  = reloadPath + "limit"
	slotsPath  = reloadPath + "slots/" // <number>, from 0
)

func shardPath(number int) string       { return shardsPath + strconv.Itoa(number) }
func bundlePath(hash fleet.Hash) string { return bundlesPath + hash.String() }
func chainPath(chain fleet.Hash) string { return chainsPath + chain.String() }

func itemPath(id string) string         { return issuancePath + id[:min(len(id), 2)] + "/" + id }
func requestPath(id string) string      { return intakePath + id }
func challengePath(token string) string { return challengesPath + token }

func ledgerPath(ca string) string        { return ledgersPath + ca }
func grantPath(node string) string       { return grantsPath + node }
func sitePath(id string) string          { return sitesPath + id }
func pinnedSealPath(id string) string    { return pinnedSitesPath + id }
func pinnedHeadPath(epoch uint64) string { return pinnedHeadsPath + strconv.FormatUint(epoch, 10) }
func pinnedSitePath(id string, epoch uint64) string {
	return pinnedSitesPath + id + "/" + strconv.FormatUint(epoch, 10)
}

// sealedFor is the path that the record of a path is sealed for. What is pinned
// can be opened without its epoch, which a node's own copy has inside only.
func sealedFor(path string) string {
	switch id, isSite := strings.CutPrefix(path, pinnedSitesPath); {
	case strings.HasPrefix(path, pinnedHeadsPath):
		return pinnedHeadsPath
	case isSite:
		id, _, _ = strings.Cut(id, "/")
		return pinnedSealPath(id)
	}
	return path
}

func slotPath(number int) string { return slotsPath + strconv.Itoa(number) }

func (s *Store) key(path string) string { return root + s.fleet + "/" + path }

// LeaderKey is the key of the leader's lock: tlsfleet/<fleet>/leader.
func (s *Store) LeaderKey() string { return s.key(leaderPath) }

// nodeOf is the node a report's key belongs to.
func (s *Store) nodeOf(key string) string { return strings.TrimPrefix(key, s.key(reportsPath)) }
