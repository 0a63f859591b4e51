// Transfers by schedule, for k6 (https://k6.io): arrivals at a fixed rate, whatever became of those before, so that a
// server that stalls shows in the percentiles.
//
//   k6 run -e TOKEN=... -e ACCOUNTS=id,id,... -e RATE=1000 -e DURATION=30s -e URL=http://127.0.0.1:7401 transfers.js
//
// docs/benchmarks/README.md says where a token and accounts come from.
import http from 'k6/http';
import { check } from 'k6';
import { Counter } from 'k6/metrics';
import exec from 'k6/execution';
import { SharedArray } from 'k6/data';

const url = __ENV.URL || 'http://127.0.0.1:7401';
const currency = __ENV.CURRENCY || 'CZK';
const rate = Number(__ENV.RATE || 500);
const accounts = new SharedArray('accounts', () => (__ENV.ACCOUNTS || '').split(',').filter((id) => id));
const refused = new Counter('transfers_refused');
// A key is one request's for ever; a run must not meet the keys of another one.
const run = `k6-${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;

export const options = {
  scenarios: {
    transfers: {
      executor: 'constant-arrival-rate',
      rate,
      timeUnit: '1s',
      duration: __ENV.DURATION || '30s',
      preAllocatedVUs: Math.max(64, Math.ceil(rate / 10)),
      maxVUs: Math.max(256, rate),
    },
  },
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'p(99.9)', 'max'],
  thresholds: {
    http_req_failed: ['rate<0.001'],
    http_req_duration: ['p(95)<200', 'p(99)<500'],
    // Iterations that k6 could not begin in time would be missing from the percentiles.
    dropped_iterations: ['count==0'],
  },
};

export function setup() {
  if (accounts.length < 2) exec.test.abort('ACCOUNTS needs the ids of two accounts or more, with money on them');
  if (!__ENV.TOKEN) exec.test.abort('TOKEN is not set');
  // The same for all virtual users.
  return { run };
}

export default function (data) {
  const from = Math.floor(Math.random() * accounts.length);
  const to = (from + 1 + Math.floor(Math.random() * (accounts.length - 1))) % accounts.length;
  const cents = 1 + Math.floor(Math.random() * 99);
  const body = JSON.stringify({
    kind: 'transfer',
    from_account_id: accounts[from],
    to_account_id: accounts[to],
    amount: { amount: `0.${String(cents).padStart(2, '0')}`, currency },
  });
  const headers = {
    Authorization: `Bearer ${__ENV.TOKEN}`,
    'Content-Type': 'application/json',
    'Idempotency-Key': `${data.run}-${exec.scenario.iterationInTest}`,
  };
  const reply = http.post(`${url}/v1/transactions`, body, { headers, tags: { name: 'transfer' } });
  check(reply, { accepted: (r) => r.status === 201 });
  if (reply.status !== 201) refused.add(1, { status: String(reply.status) });
}
