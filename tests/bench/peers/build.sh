#!/bin/sh
# Builds the peer as releases are built, and leaves it where the adapter starts it.
set -eu
cd "$(dirname "$0")/../../.."
built=$(cargo build --release --locked --bench peers --message-format=json |
    sed -n 's/.*"name":"peers".*"executable":"\([^"]*\)".*/\1/p')
cp "$built" "$BENCH_LAB/insula-peer"
