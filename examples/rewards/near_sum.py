"""A reward of one's own: a sum is worth more the nearer it is.

Serve it:  python examples/rewards/near_sum.py        (or: python -m dtrpo_rewards near_sum)
"""

from dtrpo_rewards import Item, Judgement, reward, serve


@reward("near_sum", timeout=2)
def near_sum(item: Item) -> Judgement:
    """1 for the right sum, less the further away, 0 for what is no number"""
    try:
        distance = abs(int(item.answer) - int(item.expected))
    except ValueError:
        return Judgement(0.0, False, "no number")
    return Judgement(1.0 / (1 + distance), distance == 0, f"{distance} away")


if __name__ == "__main__":
    serve("127.0.0.1:7171", workers=2)
