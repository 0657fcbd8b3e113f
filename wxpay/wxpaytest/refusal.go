package wxpaytest

// A refusal is an answer that says no, and the rule that made it do so.
type refusal struct {
	status    int
	code      string
	message   string
	detail    *refusalDetail
	rule      string // why, and where that is written
	violation bool   // no correct client sends this
	page      bool   // of v2: said by the gateway, with a page instead of XML
}

// refusalDetail accompanies PARAM_ERROR and INVALID_REQUEST only. Source: M:4012081709.
type refusalDetail struct {
	Field    string `json:"field,omitempty"` // a JSON pointer, or the parameter's name
	Value    string `json:"value,omitempty"`
	Issue    string `json:"issue,omitempty"`
	Location string `json:"location,omitempty"` // body, url, query
}

// refusalBody is how a refusal travels. Source: M:4012081709.
type refusalBody struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Detail  *refusalDetail `json:"detail,omitempty"`
}

func refuse(status int, code, message string) *refusal {
	return &refusal{status: status, code: code, message: message}
}

func (r *refusal) because(rule string) *refusal { r.rule = rule; return r }
func (r *refusal) asViolation() *refusal        { r.violation = true; return r }

func (r *refusal) in(location, field, value, issue string) *refusal {
	r.detail = &refusalDetail{Field: field, Value: value, Issue: issue, Location: location}
	return r
}

// innerCode is the numeric last part of Request-ID. Source: SKILLS (the four known ones); 0 otherwise.
func innerCode(code, rule string) string {
	switch code {
	case "FREQUENCY_LIMITED":
		return "268447840"
	case "PARAM_ERROR":
		return "268435461"
	case "SIGN_ERROR":
		return "268443699"
	case "INVALID_REQUEST":
		if rule == ruleOtherAmount || rule == ruleOtherOrder {
			return "268498688"
		}
	}
	return "0"
}
