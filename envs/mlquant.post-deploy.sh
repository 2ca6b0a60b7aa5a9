#!/bin/bash
# Snakemake runs this once in a new conda environment, from the folder it was started in: the checkout.
python -m pip install --no-deps --editable .
python -m pip install --no-deps pesq==0.0.4 || echo "PESQ, which needs a C compiler, is not installed: the measures will be without it."
