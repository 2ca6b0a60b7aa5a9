#!/bin/bash
# Snakemake runs this once in a new conda environment, from the working directory: the checkout, unless --directory was
# given, which the Snakefile tells of. Installing writes beside the sources, and a checkout may be read-only: a copy is
# installed, and the environment then pointed at the checkout, so that it follows each change of the code.
set -e
checkout=${MLQUANT_CHECKOUT:-$PWD}
copy=$(mktemp -d)
cp -r "$checkout/pyproject.toml" "$checkout/README.md" "$checkout/LICENSE" "$checkout/src" "$copy"
chmod -R u+w "$copy"
python -m pip install --no-deps --editable "$copy"
site=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$checkout/src" > "$(echo "$site"/__editable__.mlquant-*.pth)"
rm -r "$copy"
python -m pip install --no-deps pesq==0.0.4 || echo "PESQ, which needs a C compiler, is not installed: the measures will be without it."
