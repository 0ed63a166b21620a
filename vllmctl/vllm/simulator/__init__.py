"""A stand-in for vLLM: `engine: simulator`, or `python -m vllmctl.vllm.simulator serve MODEL`.

It answers vLLM's endpoints, prints vLLM's log lines, has vLLM's process tree and vLLM's bad
habits (vLLM 0.32.0, `docs/simulator.md`), and needs neither a GPU nor vLLM. It must stay light,
because fifty of them have to fit on a small machine: standard library and setproctitle only, no
asyncio and no dataclasses (their imports alone take longer than the rest of the start), and
nothing of the rest of the package.

    options.py     the command line
    leader.py      the API server's process: loads, serves, ends
    engine.py      VLLM::EngineCore; worker.py: VLLM::Worker; channel.py: the pipe between them
    loading.py     what a start prints, and when; failures.py: what a failing start prints
    server.py      the ready leader's loop; api.py: the endpoints; http.py: HTTP/1.1; metrics.py
"""
