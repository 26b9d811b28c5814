"""Converts pictures of any kind into the archives that training reads.

`sources` lists the images, `decode` and `transform` turn one file into suitable pixels,
`worker_processes` runs them in several processes, `writer` writes the destination, and `convert`
combines these steps.
"""
