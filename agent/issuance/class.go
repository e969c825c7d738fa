package issuance

// problems are the classes of ACME problem types (RFC 8555, section 6.7; RFC
// 9773, section 7.4; RFC 8657 for caa), whatever their stage.
var problems = map[string]Class{
	"badNonce":                Recoverable,
	"orderNotReady":           Recoverable,
	"alreadyReplaced":         Recoverable,
	"connection":              Recoverable,
	"dns":                     Recoverable,
	"incorrectResponse":       Recoverable,
	"tls":                     Recoverable,
	"compound":                Recoverable,
	"rateLimited":             RateLimited,
	"serverInternal":          CADown,
	"accountDoesNotExist":     CADown,
	"externalAccountRequired": CADown,
	"userActionRequired":      CADown,
	"badSignatureAlgorithm":   CADown,
	"badPublicKey":            CADown,
	"unsupportedContact":      CADown,
	"invalidContact":          CADown,
	"caa":                     Hopeless,
	"rejectedIdentifier":      Hopeless,
	"unsupportedIdentifier":   Hopeless,
	"badCSR":                  Hopeless,
	"invalidProfile":          Hopeless, // the item asks for it
}

// Classify tells what an answer of a CA means. typ is the last part of the
// problem type, empty if the answer was no ACME problem; status is its HTTP
// status, 0 if none came. The problem of an authorization has no status of its
// own: 0 with a type.
func Classify(stage Stage, typ string, status int) Class {
	if class, ok := problems[typ]; ok {
		return class
	}
	switch {
	case typ == "unauthorized" && stage == StageValidate:
		return Recoverable // the answer to the challenge was another
	case typ == "unauthorized":
		return CADown // the account is deactivated, or may not do this
	case status == 429:
		return RateLimited
	case stage == StageAccount:
		return CADown // the names were not asked for yet
	case typ == "malformed" && stage == StageOrder:
		return Hopeless // the CA does not take these names
	case status == 0 && typ == "", status >= 500, typ == "":
		return CADown // no answer, or one that is not ACME
	default:
		return Recoverable // a type of tomorrow
	}
}
