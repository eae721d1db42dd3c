"""What became of runs:  python -m alkbald.status [FOLDER ...]"""

from alkbald.records.status import main

if __name__ == "__main__":
    main()
