"""What a run would cost before it starts: `outlook` builds its model and reads its corpus, `probe`
times the trainer's own parts, `forecast` reckons, `claims` sets right what others wrote.
"""
