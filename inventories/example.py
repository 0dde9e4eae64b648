"""An inventory to copy: `cp inventories/example.py inventories/production.py`.

A group is a list; a host is its name (resolved by SSH, ~/.ssh/config included), or its name and
its own data. Every key is optional; docs/settings.md has them. A key that is misspelt is refused.
"""

# Try one host first: pyinfra inventories/production.py deploy.py --limit canary
canary = ["misp-test.example.org"]

misp = [
    "misp1.example.org",
    (
        "misp2.example.org",
        {
            "ssh_user": "admin",
            # More workers for two queues; the others keep the guide's counts (5, update: 1).
            "misp_workers": {"default": 8, "prio": 8},
            # Redis elsewhere. A secret is a reference, never a value: env, file or command.
            "misp_redis_host": "redis.example.org",
            "misp_redis_password": {"command": ["pass", "show", "misp/redis"]},
        },
    ),
    (
        "misp3.example.org",
        {
            "misp_root": "/opt/misp",
            # MISP's own web view of its workers becomes part of the proof.
            "misp_url": "https://misp3.example.org",
            "misp_api_key": {"env": "MISP3_API_KEY"},
        },
    ),
]
