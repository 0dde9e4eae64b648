<?php
namespace Supervisor;

enum ProcessStates: int
{
    case Stopped = 0;
    case Running = 20;
}
