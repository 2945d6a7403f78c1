"""Your own rewards for dTRPO jobs: decorate a function, start the server, name it in the job file.

    from dtrpo_rewards import Item, reward, serve

    @reward("polite", timeout=2)
    def polite(item: Item) -> float:
        return 1.0 if "please" in item.answer else 0.0

    if __name__ == "__main__":
        serve("127.0.0.1:7171", workers=2)

docs/rewards.md of the repository shows the job file that goes with it.
"""

from dtrpo_rewards.registry import Item, Judgement, reward
from dtrpo_rewards.server import RewardServer, serve

__all__ = ["Item", "Judgement", "RewardServer", "reward", "serve"]
