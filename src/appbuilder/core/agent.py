"""AgentRuntime, under the SDK's name of its module."""

from appbuilder.runtime.agent_runtime import AgentRuntime

__all__ = ["AgentRuntime"]
