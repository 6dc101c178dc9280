#!/usr/bin/env bash
# demo.sh UNROLL: trains the recipe `demo` on the King James Bible beside a 5-gram model of the same text and
# vocabulary, prints the test perplexity of both and three passages. Leaves data/king-james and runs/demo.
set -euo pipefail
unroll=$1
here=$(dirname "${BASH_SOURCE[0]}")
data=data/king-james

"$here/king_james.sh" $data
rm -rf runs/demo runs/demo-kn5
mkdir -p runs

echo "Counting a 5-gram model (interpolated modified Kneser-Ney) ..."
"$unroll" train --recipe kn5 --min-count 3 --data $data --out runs/demo-kn5 --quiet > /dev/null
echo "Training a recurrent model (recipe demo) ..."
"$unroll" train --recipe demo --data $data --out runs/demo > /dev/null

# The value of a key in the JSON object that `unroll eval` prints.
field() { sed -E "s/.*\"$1\":\"?([^,\"}]*).*/\1/"; }
kn=$("$unroll" eval runs/demo-kn5 $data/test.txt --json)
lstm=$("$unroll" eval runs/demo $data/test.txt --json)
if [[ $(field vocabulary_hash <<< "$kn") != $(field vocabulary_hash <<< "$lstm") ]]; then
  echo "demo: the two models have different vocabularies, so their perplexities cannot be compared" >&2
  exit 1
fi
printf '\nTest perplexity (%s tokens, every one scored, same vocabulary)\n' "$(field tokens <<< "$lstm")"
printf '  %-44s %8.2f\n' "5-gram, interpolated modified Kneser-Ney" "$(field ppl <<< "$kn")"
printf '  %-44s %8.2f\n' "LSTM, recipe demo" "$(field ppl <<< "$lstm")"

for prompt in "and god said" "in those days" "blessed is the man that"; do
  printf '\n--- %s ...\n' "$prompt"
  "$unroll" generate runs/demo --prompt "$prompt" --length 60 --temperature 0.8 --seed 7
done

cat <<TEXT

Next
  $unroll generate runs/demo --prompt "the king" -n 3 --temperature 1.0
  $unroll score runs/demo $data/test.txt --level line | head
  $unroll info runs/demo
  $unroll train --recipe demo --data YOUR_FOLDER --out runs/mine     (*train*.txt and *valid*.txt in it)
  the learning curve is runs/demo/plot.svg
TEXT
awk -v kn="$(field ppl <<< "$kn")" -v lstm="$(field ppl <<< "$lstm")" 'BEGIN { exit !(lstm < kn) }' || {
  echo "demo: the LSTM is expected to be better than the 5-gram model, and is not; please report this" >&2
  exit 1
}
