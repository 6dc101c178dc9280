#!/usr/bin/env bash
# king_james.sh DIR: the King James Bible (public domain; Debian package bible-kjv) as language model data:
# DIR/train.txt, valid.txt and test.txt, the first 90 %, the next 5 % and the last 5 % of the verses.
# One verse per line, lower case, punctuation and the possessive 's as tokens of their own.
set -euo pipefail
dir=${1:?usage: king_james.sh DIR}
mkdir -p "$dir"
bible -f Gen1:1-Rev22:21 | tr '[:upper:]' '[:lower:]' |
  sed -E "s/^[^ ]+ //; s/'/ '/g; s/[.,:;?!()]/ & /g; s/ +/ /g; s/^ | $//g" |
  awk -v dir="$dir" '{ verse[NR] = $0 }
    END {
      for (i = 1; i <= NR; i++)
        print verse[i] > (dir "/" (i <= NR * 0.90 ? "train" : i <= NR * 0.95 ? "valid" : "test") ".txt")
    }'
