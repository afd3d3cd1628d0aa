"""The fault suite: a relay of real processes, steady load, faults at random moments, and a history that is checked.

How it works
    A scenario gets a `Testbed`: Redis, nodes as processes of their own, a proxy on the way of the last one, and a
    `Random` with a printed seed. It lets a `Crowd` of clients send at a steady rate, and hurts what it came to hurt.
    The clients behave as docs/clients/ tells client authors: they reconnect with backoff and jitter, refresh their
    tokens, honour Retry-After, and retry, one half with an Idempotency-Key and one half without.
    Everything that a client saw goes into a `History`: each request and its outcome, each envelope, each ack, each
    end of a socket, each one-time key, each refusal of a session. At the end of a round the crowd is drained, and
    `checker` reads the history and names every promise that was broken.

Rooms
    history.py     what was seen, as records
    checker.py     pure functions from a history to its faults, each with tests of its own
    http.py        HTTP to the nodes of this machine, by the load generator's client (obscura/client), which is light
                   enough to make 500 requests a second beside three nodes
    websocket.py   gateway sockets, as light, by the same client
    account.py     one account: keys, tokens
    client.py      one person with an account: sockets, messages
    crowd.py       many of them, at a steady rate
    nodes.py       `obscura serve`, and haproxy in front of several
    testbed.py     all of it put together
    bystanders.py  others at a node that is abused, and its memory
    floods.py      clients without manners
    watch.py       a node's readiness, all the while
    keys_owned.py  whether every key in Redis has a time to live or an owner
    report.py      what a scenario did, and the table of all
    scenarios/     the faults, one module each
    command.py     what script/faults runs

Randomness
    One seed decides which node is hurt, when, and who sends to whom. The operating system's scheduler decides the
    rest, so a replay repeats the faults and not every interleaving.
"""
