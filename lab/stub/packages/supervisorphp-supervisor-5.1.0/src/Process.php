<?php
namespace Supervisor;

/** 5.1 moved the states into enums: Process::RUNNING is gone, and so MISP's page breaks. */
class Process
{
}
