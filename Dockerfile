# The program and its default corpus on a fresh Debian 12; once built it needs no network. Runs stay in ./runs, own
# data are mounted (then add: --data /code):
#   docker build -t subquad . && docker run --rm -it -v "$PWD/runs:/subquad/runs" -v ~/code:/code:ro subquad
FROM debian:12
COPY . /subquad
WORKDIR /subquad
RUN ./setup compare --help && tools/fetch_corpus && rm -rf data/packages /var/lib/apt/lists/*
ENTRYPOINT ["./setup", "compare"]
