"""mlquant: machine-learning quantisation of speech vocoder features, a stage at a time."""
