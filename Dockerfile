# The program on a fresh Debian 12: docker build -t subquad . && docker run --rm -v "$PWD/runs:/subquad/runs" subquad
FROM debian:12
COPY . /subquad
WORKDIR /subquad
RUN ./setup compare --help && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["./setup", "compare"]
