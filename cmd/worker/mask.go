package main

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// What strangers wrote, as it can be shown.

// Numbers that say who a payer is, in texts that people wrote. Order numbers of WeChat Pay are longer and stay.
var personalNumbers = regexp.MustCompile(strings.Join([]string{
	`\b(?:86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}\b`,         // a mobile phone's
	`\b0\d{2,3}[ -]?\d{7,8}\b`,                             // another phone's
	`\b\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{4}(?:[ -]\d{1,3})?\b`, // a bank card's, in groups
	`\b\d{15,18}[\dXx]?\b`,                                 // a bank card's, or an identity card's
	`\bo[0-9A-Za-z_-]{27}`,                                 // an openid
}, "|"))

// maskNumbers hides phone, bank card and identity card numbers and openids in a text, all but their last four characters. Numbers
// in except stay.
func maskNumbers(text string, except ...string) string {
	return personalNumbers.ReplaceAllStringFunc(text, func(number string) string {
		if slices.Contains(except, number) {
			return number
		}
		return strings.Repeat("*", len(number)-4) + number[len(number)-4:]
	})
}

// maskDigits hides every digit.
func maskDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return '*'
		}
		return r
	}, s)
}

// oneLine makes a stranger's text harmless for a terminal: what is not to be seen could move the cursor, or show the rest in
// another order than it is in.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r), unicode.Is(unicode.Zs, r):
			return r
		case r == '\n', r == '\r', r == '\t':
			return ' '
		}
		return '\ufffd'
	}, s)
}
