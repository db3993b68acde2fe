"""An S3 server with one bucket, and checks that are counted, for the scripts here."""

import os
import socket
import subprocess
import sys
import time
import urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Bucket:
    """An S3 server with one bucket, until the end of the script."""

    def __init__(self, server, log):
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([server, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        for _ in range(600):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{self.address}/bucket", method="PUT"))
                return
            except OSError:
                time.sleep(0.1)
        sys.exit("the server did not start")

    def put(self, name, data):
        # As a form, which is the default, the server would not take it.
        kind = {"Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.address}/{name}", data=data, headers=kind, method="PUT")
        urllib.request.urlopen(request, timeout=60)

    def environment(self):
        secrets = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-prints"}
        return {**os.environ, **secrets, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.address}


def check(what, holds):
    print(f"{'ok  ' if holds else 'FAIL'}  {what}", flush=True)
    check.failed |= not holds


check.failed = False
