package wxpaytest

// What user and platform do about a complaint, on a test's word.

// UserContinues lets the user complain again after PROCESSED: PENDING, a new round, with deadlines of its own.
// Not possible once all is refunded: then the user can only leave messages. Source: M:4012587539, M:4012289719.
func (s *Server) UserContinues(complaintID string) error {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	c := s.books.complaints[complaintID]
	switch {
	case c == nil:
		return s.misuse("user continues complaint %s: no such complaint", complaintID)
	case c.state != stateProcessed:
		return s.misuse("user continues complaint %s: it is %s, not PROCESSED", complaintID, c.state)
	case s.books.fullyRefunded(c):
		return s.misuse("user continues complaint %s: its orders are refunded", complaintID)
	}
	now := s.options.Now()
	c.begin(now)
	c.turn, c.userWaits = 0, true
	c.note(s.books, now, operatorUser, operateContinued, "问题未解决，继续投诉")
	return nil
}

// UserReplies lets the user say something, in any state: the merchant may send 20 more messages.
func (s *Server) UserReplies(complaintID string) error {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	c := s.books.complaints[complaintID]
	if c == nil {
		return s.misuse("user replies to complaint %s: no such complaint", complaintID)
	}
	c.turn, c.userWaits = 0, true
	c.note(s.books, s.options.Now(), operatorUser, operateUserResponse, "请尽快处理")
	return nil
}

// PlatformServes says whether WeChat Pay's own staff handles the complaint [平台协助], at the user's request. While they
// do, in_platform_service is true and the merchant's messages are recorded, but the user does not see them
// (HistoryEntry.Invisible). What else they do to state, rounds and deadlines is not documented: they count as
// others. Source: M:4012533436.
func (s *Server) PlatformServes(complaintID string, serves bool) error {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	c := s.books.complaints[complaintID]
	switch {
	case c == nil:
		return s.misuse("platform serves complaint %s: no such complaint", complaintID)
	case c.served == serves:
		return s.misuse("platform serves complaint %s: is %t already", complaintID, serves)
	}
	c.served = serves
	if serves {
		c.note(s.books, s.options.Now(), operatorUser, operateServiceApplied, "商家响应不及时")
	} else {
		c.note(s.books, s.options.Now(), operatorPlatform, operateServiceFinished, "")
	}
	return nil
}
