package messages

// ComplaintCommands is the filter of all complaint commands of one merchant.
func (s Subjects) ComplaintCommands(mchid string) string {
	return s.Prefix + ".command." + mchid + ".complaint.>"
}

// DeadLettersOf is the filter of one merchant's and kind's dead letters; an empty argument stands for all.
func (s Subjects) DeadLettersOf(mchid string, k Kind) string {
	any := func(token string) string {
		if token == "" {
			return "*"
		}
		return token
	}
	return s.Prefix + ".deadletter." + any(mchid) + "." + any(string(k)) + ".>"
}
