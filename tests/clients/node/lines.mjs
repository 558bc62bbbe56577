// SPDX-License-Identifier: Apache-2.0
// A reporter of node's test runner: one JSON line for each case that has ended.

export default async function* lines(events) {
  for await (const { type, data } of events) {
    if (type === 'test:pass' || type === 'test:fail') {
      const cause = data.details?.error?.cause ?? data.details?.error;
      const words = type === 'test:fail' ? String(cause?.stack ?? cause) : '';
      yield JSON.stringify({ name: data.name, passed: type === 'test:pass', skipped: data.skip !== undefined, words }) + '\n';
    }
  }
}
