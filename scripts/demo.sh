#!/bin/sh
# demo.sh - the last step of `make demo`: a model (the default one, or SLUICE_MODEL) completes a sentence.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
prompt=${SLUICE_PROMPT:-Water mills turned the flow of a river into work. The sluice gate}

if [ -n "${SLUICE_MODEL:-}" ]; then
    model=$SLUICE_MODEL
else
    $python scripts/fetch_model.py
    model=$($python scripts/fetch_model.py --print-path)
fi
printf '\n$ build/sluice run -m %s -p "%s" -n 64\n\n' "$model" "$prompt"
build/sluice run -m "$model" -p "$prompt" -n 64
