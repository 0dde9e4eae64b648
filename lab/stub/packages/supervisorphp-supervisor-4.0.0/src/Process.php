<?php
namespace Supervisor;

class Process
{
    const STOPPED = 0;
    const STARTING = 10;
    const RUNNING = 20;
    const BACKOFF = 30;
    const STOPPING = 40;
    const EXITED = 100;
    const FATAL = 200;
    const UNKNOWN = 1000;
}
