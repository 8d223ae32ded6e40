package api

import "strconv"

func notEmpty(name, value string) (string, error) {
	if value == "" {
		return "", parameter(name, "is empty: name one, or leave it out for all")
	}
	return value, nil
}

func seqParameter(name, value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return 0, parameter(name, "must be a whole number, 0 or more")
	}
	return n, nil
}

func limitParameter(name, value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxPage {
		return 0, parameter(name, "must be a number from 1 to %d", maxPage)
	}
	return n, nil
}
