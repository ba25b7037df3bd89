from tidegate.cli.main import main

main()
