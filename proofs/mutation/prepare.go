package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// job is a mutation with what it makes of the tree and the folder of its test.
type job struct {
	mutation
	mutated
	dir string
}

// prepare applies every mutation in memory and finds its test. The error has all that are
// amiss.
func prepare(t *tree, list []mutation) (jobs []job, err error) {
	var all []error
	for _, m := range list {
		done, err := t.apply(m)
		dir, terr := t.testDir(m.test)
		if terr != nil {
			terr = fmt.Errorf("%s: %w", m.name, terr)
		}
		if err = errors.Join(err, terr); err != nil {
			all = append(all, err)
			continue
		}
		jobs = append(jobs, job{m, done, dir})
	}
	if len(all) > 0 {
		err = fmt.Errorf("%w\n%d of %d mutations have lost their place or test", errors.Join(all...), len(all), len(list))
	}
	return jobs, err
}

// parseShard reads K/N.
func parseShard(s string) (k, n int, err error) {
	if _, err := fmt.Sscanf(s, "%d/%d", &k, &n); err != nil || k < 1 || k > n {
		return 0, 0, errors.New("want K/N with 1 <= K <= N")
	}
	return k, n, nil
}

// part returns every nth of the jobs, from the kth.
func part(jobs []job, k, n int) (list []job) {
	for i := k - 1; i < len(jobs); i += n {
		list = append(list, jobs[i])
	}
	return list
}

// choose returns the jobs that the change since base touches and n others, in random order,
// so that those for which there is no time are not always the same.
func choose(t *tree, jobs []job, base string, n int) ([]job, error) {
	c, err := changesSince(t.root, base)
	if err != nil {
		return nil, err
	}
	var touched, others []job
	for _, j := range jobs {
		if c.touch(t, j) {
			touched = append(touched, j)
		} else {
			others = append(others, j)
		}
	}
	rand.Shuffle(len(others), func(a, b int) { others[a], others[b] = others[b], others[a] })
	n = min(n, len(others))
	list := slices.Concat(touched, others[:n])
	rand.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
	fmt.Printf("%d of %d mutations are touched by the change since %s; %d others are taken at random\n", len(touched), len(jobs), base, n)
	return list, nil
}
