#!/bin/sh
# Print allocators/sites.def as a Markdown table, for docs/design.md.
cd "$(dirname "$0")/.." || exit 1
printf '| Site | What a survivor finds | Who mends it |\n|---|---|---|\n'
sed -nE \
  -e 's,^/\* ([^.]*) \*/$,| **\1** | | |,p' \
  -e 's/^SITE\(([a-z_]+), "(.*)", "(.*)"\)$/| `\1` | \2 | \3 |/p' allocators/sites.def
