"""From pictures of any kind to the archives that training reads.

`sources` lists what there is, `decode` and `transform` turn one file into pixels that fit,
`parallel` does so in several processes, `writer` owns the destination, and `convert` is the whole.
"""
