<?php
declare(strict_types=1);

/** Jobs of the workflow engine: they have nothing to run here. */
class WorkflowShell extends AppShell
{
    protected function subcommands(): array
    {
        return array('executeWorkflowForTrigger' => array(), 'walkGraph' => array());
    }

    public function executeWorkflowForTrigger(): void
    {
        $this->out('Workflow executed.');
    }

    public function walkGraph(): void
    {
        $this->out('Workflow executed.');
    }
}
