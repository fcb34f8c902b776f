// Go's net/http against a server: `client URL MODE PHASE ARGUMENT`; see AssayClient.java for the words.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const attemptTimeout = 2 * time.Second
const retryFor = 40 * time.Second

type result struct {
	Phase    string         `json:"phase"`
	Requests int            `json:"requests"`
	Answered int            `json:"answered"`
	Retries  int            `json:"retries"`
	Replayed int            `json:"replayed"`
	Errors   map[string]int `json:"errors"`
}

var codePattern = regexp.MustCompile("ASSAY_[A-Z_]+")

var (
	target  string
	advised bool
	mutex   sync.Mutex
	total   = result{Errors: map[string]int{}}
)

func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if advised {
		transport.IdleConnTimeout = 5 * time.Second
		transport.MaxIdleConnsPerHost = 64
	}
	return &http.Client{Transport: transport, Timeout: attemptTimeout}
}

func main() {
	target, advised, total.Phase = os.Args[1]+"/v1/score", os.Args[2] == "advised", os.Args[3]
	switch total.Phase {
	case "burst", "expect":
		count, _ := strconv.Atoi(os.Args[4])
		burst(count, total.Phase == "expect")
	case "gaps":
		gaps(strings.Split(os.Args[4], ","))
	case "steady":
		seconds, _ := strconv.Atoi(os.Args[4])
		steady(time.Duration(seconds) * time.Second)
	}
	line, _ := json.Marshal(total)
	fmt.Println(string(line))
}

func burst(count int, expect bool) {
	client := newClient()
	inParallel(8, func(worker int) {
		for i := worker; i < count; i += 8 {
			score(client, expect)
		}
	})
}

func gaps(list []string) {
	inParallel(len(list), func(worker int) {
		client := newClient()
		gap, _ := strconv.ParseFloat(list[worker], 64)
		score(client, false)
		time.Sleep(time.Duration(gap * float64(time.Second)))
		score(client, false)
	})
}

func steady(length time.Duration) {
	client := newClient()
	score(client, false)
	fmt.Println("started")
	end := time.Now().Add(length)
	inParallel(4, func(int) {
		for time.Now().Before(end) {
			score(client, false)
			time.Sleep(50 * time.Millisecond)
		}
	})
}

func inParallel(workers int, work func(worker int)) {
	var group sync.WaitGroup
	for worker := 0; worker < workers; worker++ {
		group.Add(1)
		go func(worker int) { defer group.Done(); work(worker) }(worker)
	}
	group.Wait()
}

func score(client *http.Client, expect bool) {
	// A letter ends each number: one of decimal digits alone could look like a card number.
	id := fmt.Sprintf("go-%xn-%xr", time.Now().UnixNano(), rand.Int63())
	body := fmt.Sprintf(`{"transaction_id":"%s","occurred_at":%d,"amount_minor":4200,"currency":"EUR",`+
		`"customer_id":"852","terminal_id":"5161"}`, id, time.Now().UnixMilli())
	count(func() { total.Requests++ })
	giveUp := time.Now().Add(retryFor)
	for {
		failure := attempt(client, id, body, expect)
		if failure == "" {
			return
		}
		if !advised || time.Now().After(giveUp) {
			count(func() { total.Errors[failure]++ })
			return
		}
		count(func() { total.Retries++ })
		time.Sleep(200 * time.Millisecond)
	}
}

func attempt(client *http.Client, id, body string, expect bool) string {
	request, _ := http.NewRequest("POST", target, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	if advised {
		request.Header.Set("Idempotency-Key", id)
	}
	if expect {
		request.Header.Set("Expect", "100-Continue")
	}
	response, err := client.Do(request)
	if err != nil {
		return words(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return words(err)
	}
	if response.StatusCode != 200 {
		return fmt.Sprintf("status %d %s", response.StatusCode, codePattern.FindString(string(answer)))
	}
	count(func() {
		total.Answered++
		if response.Header.Get("Idempotent-Replayed") != "" {
			total.Replayed++
		}
	})
	return ""
}

// The error without its addresses, so that equal ones count together.
func words(err error) string {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	text := err.Error()
	if at := strings.LastIndex(text, "->"); at >= 0 {
		if colon := strings.Index(text[at:], ": "); colon >= 0 {
			return text[at+colon+2:]
		}
	}
	return text
}

func count(change func()) {
	mutex.Lock()
	defer mutex.Unlock()
	change()
}
